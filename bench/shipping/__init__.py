"""log-shipper on one core: what it takes out of stream LOGS and brings to a destination."""

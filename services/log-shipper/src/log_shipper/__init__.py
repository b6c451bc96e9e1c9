"""log-shipper."""

"""Every event, request, NATS subject, stream, bucket and Redis key that two services must agree on."""

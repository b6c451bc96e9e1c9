"""What may be done and what follows from it; knows no HTTP, NATS or Redis client."""

"""NATS: typed publish, request, answer, consume, follow; custody publishing; provisioning and permissions."""

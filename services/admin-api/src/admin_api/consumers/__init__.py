"""In by NATS: what admin-api hears."""

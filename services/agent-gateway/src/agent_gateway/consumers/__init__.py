"""In by NATS: what the gateway follows."""

"""What comes in by NATS: one file per event or request."""

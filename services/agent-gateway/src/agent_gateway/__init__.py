"""agent-gateway."""

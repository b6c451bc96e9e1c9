"""live-query."""

"""The same work done plainly, as a yardstick: FastAPI routes with pydantic bodies on the gateway's own listeners."""

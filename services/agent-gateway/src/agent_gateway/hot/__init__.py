"""The hot road: the polls and posts of hosts, answered before FastAPI in a bare ASGI callable."""

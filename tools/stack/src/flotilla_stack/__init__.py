"""What `make run` runs: embedded servers, edge proxy, supervisor, demo seed.

Owns     the directory `.flotilla/`, its secrets and certificates
Starts   Postgres, NATS, Valkey, an S3 server, Caddy and every service, as processes of their own
Asks     admin-api, over HTTP, like any other client
"""

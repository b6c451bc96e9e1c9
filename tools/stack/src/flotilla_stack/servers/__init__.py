"""The servers that a person would otherwise have to install, each from a wheel, each one module."""

from flotilla_stack.servers.base import Server
from flotilla_stack.servers.caddy import Caddy, Upstreams
from flotilla_stack.servers.nats import Nats
from flotilla_stack.servers.postgres import Postgres
from flotilla_stack.servers.running import RunningServer, ServerFailedError
from flotilla_stack.servers.s3 import S3
from flotilla_stack.servers.valkey import Valkey

__all__ = ["S3", "Caddy", "Nats", "Postgres", "RunningServer", "Server", "ServerFailedError", "Upstreams", "Valkey"]

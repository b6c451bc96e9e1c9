"""Passwords, generated at the first run and kept."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotilla_stack.files import write_private

POSTGRES_ROLES = ("inventory", "admin_api", "config_merger", "live_query", "log_shipper", "analytics")
NATS_USERS = ("provision", "agent_gateway", *POSTGRES_ROLES)
ADMIN_EMAIL = "admin@flotilla.test"
STACK_EMAIL = "stack@flotilla.test"
"""Of the API-only user that `make run` makes for its own tools."""


@dataclass(frozen=True)
class Passwords:
    """All of them; `postgres` and `nats` by import name of the service."""

    postgres: Mapping[str, str]
    nats: Mapping[str, str]
    redis: str
    postgres_owner: str
    admin: str
    stack: str
    s3_secret: str


def load_passwords(service_file: Path, owner_file: Path) -> Passwords:
    """Read both files, generate what is missing, and write them back with mode 0600.

    The service file is the one that provisioning reads; what it must not know stands in the owner's.
    """
    shared = complete(read(service_file), {"postgres": POSTGRES_ROLES, "nats": NATS_USERS, "redis": None})
    own = complete(read(owner_file), {"postgres_owner": None, "admin": None, "stack": None, "s3_secret": None})
    write_private(service_file, json.dumps(shared, indent=2) + "\n")
    write_private(owner_file, json.dumps(own, indent=2) + "\n")
    return Passwords(**shared, **own)


def complete(known: dict[str, Any], wanted: Mapping[str, tuple[str, ...] | None]) -> dict[str, Any]:
    """Return `known` with a new password for every name that it lacks."""
    done = dict(known)
    for name, members in wanted.items():
        if members is None:
            done.setdefault(name, new_password())
        else:
            done[name] = {member: new_password() for member in members} | done.get(name, {})
    return done


def new_password() -> str:
    """Return 24 random letters with a digit and a symbol, safe in URLs, files and shells."""
    return f"{secrets.token_hex(10)}-A{secrets.randbelow(10)}"


def read(path: Path) -> dict[str, Any]:
    """Return the file's JSON object, empty if there is none."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content

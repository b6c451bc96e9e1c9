"""Bring a database up to this release: migrations, then one role per service with exactly its rights."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

HERE = Path(__file__).parent / "migrations"

READS: dict[str, tuple[str, ...]] = {
    "inventory": ("admin_api",),
    "admin_api": ("inventory", "live_query", "config_merger", "log_shipper", "analytics"),
    "config_merger": ("admin_api", "inventory"),
    "live_query": ("inventory", "admin_api"),
    "log_shipper": (),
    "analytics": ("inventory", "admin_api", "live_query", "config_merger"),
}
"""Service -> schemas of others that it may read (its charter says so). It writes its own alone."""


def config(connection: sa.Connection, *, only_schema: str | None = None) -> Config:
    """Return Alembic's configuration on an open connection."""
    settings = Config()
    settings.set_main_option("script_location", str(HERE))
    settings.set_main_option("file_template", "%%(rev)s")  # `revisions.head` goes by the files' names
    settings.attributes["connection"] = connection
    settings.attributes["only_schema"] = only_schema
    return settings


def migrate(connection: sa.Connection) -> None:
    """Run all migrations that the database lacks."""
    command.upgrade(config(connection), "head")


def role_of(service: str) -> str:
    """Return the Postgres role of a service."""
    return f"flotilla_{service}"


def grant(connection: sa.Connection, passwords: dict[str, str]) -> None:
    """Create every service's role (or set its password) and give it its own schema to write and others to read."""
    quote = connection.dialect.identifier_preparer.quote
    database = quote(str(connection.scalar(sa.text("SELECT current_database()"))))
    connection.execute(sa.text(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"))
    connection.execute(sa.text("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
    for service, others in READS.items():
        role = quote(role_of(service))
        _create_role(connection, role_of(service), passwords[service])
        connection.execute(sa.text(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role}"))
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {role}"))
        connection.execute(sa.text(f"GRANT SELECT ON public.alembic_version TO {role}"))
        for schema in (service, *others):
            rights = "SELECT, INSERT, UPDATE, DELETE" if schema == service else "SELECT"
            connection.execute(sa.text(f"GRANT USAGE ON SCHEMA {quote(schema)} TO {role}"))
            connection.execute(sa.text(f"GRANT {rights} ON ALL TABLES IN SCHEMA {quote(schema)} TO {role}"))
        connection.execute(sa.text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {quote(service)} TO {role}"))


def _create_role(connection: sa.Connection, role: str, password: str) -> None:
    """Create a login role, or set its password; the names come from READS, the password is quoted by the server."""
    exists = connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    verb = "ALTER" if exists else "CREATE"
    statement = connection.scalar(
        sa.text("SELECT format('%s ROLE %I LOGIN PASSWORD %L', :verb ::text, :role ::text, :password ::text)"),
        {"verb": verb, "role": role, "password": password},
    )
    connection.execute(sa.text(str(statement).replace(":", r"\:")))

"""Bring a database up to this release: migrations, then one role per service with exactly its rights."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

HERE = Path(__file__).parent / "migrations"

READS: dict[str, dict[str, tuple[str, ...]]] = {
    "inventory": {"admin_api": ("enroll_secrets", "teams", "labels", "queries", "query_labels", "app_config")},
    "admin_api": {
        "inventory": ("hosts", "host_seen", "label_membership", "enroll_secret_uses"),
        "live_query": ("campaigns", "budgets", "ledger", "campaign_segments", "carves", "carve_blocks"),
        "log_shipper": (
            "query_reports",
            "query_report_times",
            "reported_queries",
            "host_losses(host_id, kind, lines, warnings, first_at, last_at)",
        ),
    },
    "config_merger": {
        "admin_api": ("app_config", "teams", "queries", "query_labels", "labels(id, name)"),
        "inventory": ("hosts", "label_membership", "scope_labels"),
    },
    "live_query": {
        "inventory": ("hosts", "host_seen", "label_membership"),
        "admin_api": ("labels", "app_config(id, live_query_disabled)"),
    },
    "log_shipper": {
        "inventory": ("hosts(id, platform, team_id)", "label_membership"),
        "admin_api": (
            "queries(id, team_id, name, interval_seconds, logging, discard_data, saved, results_since)",
            "app_config(id, query_reports_disabled, query_report_cap)",
        ),
    },
    "analytics": {
        "inventory": ("hosts", "host_seen"),
        "admin_api": ("labels", "queries", "teams", "users(id)", "sessions(user_id, accessed_at)"),
        "live_query": ("campaigns",),
    },
}
"""Service -> schema -> tables of others that it may read (its charter says so), some by a few columns alone.

It writes its own schema alone.
"""


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
    """Create every service's role (or set its password); give it its own schema to write, and what READS lists.

    Rights that an earlier release gave and this one does not list are taken back, in the same transaction.
    """
    quote = connection.dialect.identifier_preparer.quote
    database = quote(str(connection.scalar(sa.text("SELECT current_database()"))))
    connection.execute(sa.text(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"))
    connection.execute(sa.text("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
    for service, reads in READS.items():
        role = quote(role_of(service))
        _create_role(connection, role_of(service), passwords[service])
        for schema in ("public", *READS):
            _revoke(connection, quote(schema), role)
        connection.execute(sa.text(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role}"))
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {role}"))
        connection.execute(sa.text(f"GRANT SELECT ON public.alembic_version TO {role}"))
        _grant_own(connection, quote(service), role)
        for schema, tables in reads.items():
            connection.execute(sa.text(f"GRANT USAGE ON SCHEMA {quote(schema)} TO {role}"))
            for table in tables:
                name, columns = _split(table)
                connection.execute(sa.text(f"GRANT SELECT {columns} ON {quote(schema)}.{quote(name)} TO {role}"))


def _revoke(connection: sa.Connection, schema: str, role: str) -> None:
    """Take all that a role may do in a schema, and what it would get of tables to come."""
    for kind in ("TABLES", "SEQUENCES"):
        connection.execute(sa.text(f"REVOKE ALL ON ALL {kind} IN SCHEMA {schema} FROM {role}"))
        connection.execute(sa.text(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE ALL ON {kind} FROM {role}"))
    connection.execute(sa.text(f"REVOKE ALL ON SCHEMA {schema} FROM {role}"))


def _grant_own(connection: sa.Connection, schema: str, role: str) -> None:
    connection.execute(sa.text(f"GRANT USAGE ON SCHEMA {schema} TO {role}"))
    connection.execute(sa.text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"))
    connection.execute(sa.text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"))


def _split(table: str) -> tuple[str, str]:
    """Split `name(column, ...)` into name and columns in parentheses; no columns means all."""
    name, parenthesis, columns = table.partition("(")
    return name, parenthesis + columns


def _create_role(connection: sa.Connection, role: str, password: str) -> None:
    """Create a login role, or set its password; the names come from READS, the password is quoted by the server."""
    exists = connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    verb = "ALTER" if exists else "CREATE"
    statement = connection.scalar(
        sa.text("SELECT format('%s ROLE %I LOGIN PASSWORD %L', :verb ::text, :role ::text, :password ::text)"),
        {"verb": verb, "role": role, "password": password},
    )
    connection.execute(sa.text(str(statement).replace(":", r"\:")))

"""One cloned Postgres database per worker, emptied between tests to what the migrations left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import NullPool, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import SQLModel

from flotilla_common.testing.servers import TEMPLATE, SharedServers

M = TypeVar("M", bound=SQLModel)


class Database:
    """A clean, migrated database with one role per service."""

    def __init__(self, shared: SharedServers, name: str) -> None:
        self._shared = shared
        self.name = name

    @property
    def owner_url(self) -> str:
        """The superuser's URL: for arranging and looking, never for the code under test."""
        return self._shared.owner_url(self.name)

    def url(self, service: str) -> str:
        """Return the URL as a service's own, restricted role."""
        return self._shared.service_url(service, self.name)

    def sessions(self, service: str | None = None) -> async_sessionmaker[AsyncSession]:
        """Return a maker of sessions as a service's role (the superuser for None); it keeps no connections."""
        url = self.owner_url if service is None else self.url(service)
        return async_sessionmaker(create_async_engine(url, poolclass=NullPool), expire_on_commit=False)

    async def rows(self, model: type[M]) -> Sequence[M]:
        """Return all rows of a table, as the superuser."""
        async with self.sessions()() as session:
            return (await session.execute(select(model))).scalars().all()

    async def add(self, *rows: SQLModel) -> None:
        """Insert rows, as the superuser; they come back with their ids."""
        async with self.sessions().begin() as session:
            session.add_all(rows)

    async def cut_connections(self, service: str) -> None:
        """Cut every connection of a service to this database, as a restart would; other workers keep theirs."""
        statement = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = :role AND datname = current_database()"
        )
        async with self.sessions()() as session:
            await session.execute(statement, {"role": f"flotilla_{service}"})


def clone(shared: SharedServers, name: str) -> None:
    """Make a database from the migrated template and remember what the migrations put in its tables."""
    with psycopg.connect(_plain(shared.owner_url("postgres")), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        )
        for service in shared.postgres_passwords:
            role = sql.Identifier(f"flotilla_{service}")
            connection.execute(
                sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(sql.Identifier(name), role)
            )
    with psycopg.connect(_plain(shared.owner_url(name)), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA seeds")
        for schema, table in _tables(connection):
            source, copy = sql.Identifier(schema, table), sql.Identifier("seeds", f"{schema}.{table}")
            found = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(source)).fetchone()
            if found and found[0]:
                connection.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(copy, source))


def clean(shared: SharedServers, name: str) -> None:
    """Empty every table that has rows, restart its numbers, and put back what the migrations had put there."""
    with psycopg.connect(_plain(shared.owner_url(name)), autocommit=True) as connection, connection.transaction():
        tables = _tables(connection)
        names = sql.SQL(", ").join(sql.Identifier(schema, table) for schema, table in tables)
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(names))
        seeds = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'seeds'").fetchall()
        for (seed,) in seeds:
            target = sql.Identifier(*str(seed).split(".", 1))
            connection.execute(
                sql.SQL("INSERT INTO {} SELECT * FROM {}").format(target, sql.Identifier("seeds", str(seed)))
            )
        connection.execute("SELECT setval('admin_api.labels_id_seq', 100, false)")


def _tables(connection: psycopg.Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'public', 'seeds') ORDER BY 1, 2"
    ).fetchall()
    return [(str(schema), str(table)) for schema, table in rows]


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")

"""One cloned Postgres database per worker, emptied between tests to what the migrations left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import Engine, NullPool, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from flotilla_common.testing.servers import TEMPLATE, SharedServers

M = TypeVar("M", bound=SQLModel)
T = TypeVar("T")

# Rows are deleted, not truncated, where there are few: to make 40 tables' files anew takes longer than most tests.
CLEAN = """
CREATE FUNCTION seeds.clean() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  found record;
  has_rows boolean;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity  -- what an earlier test left open may commit later
    WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid();
  PERFORM set_config('session_replication_role', 'replica', true);  -- foreign keys: all of them are emptied
  FOR found IN
    SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'public', 'seeds')
  LOOP
    IF pg_relation_size(found.name::regclass) > 1000000 THEN
      EXECUTE format('TRUNCATE %s CASCADE', found.name);
    ELSE
      EXECUTE format('SELECT EXISTS (SELECT FROM %s)', found.name) INTO has_rows;
      IF has_rows THEN
        EXECUTE format('DELETE FROM %s', found.name);
      END IF;
    END IF;
  END LOOP;
  PERFORM set_config('session_replication_role', 'origin', true);
  PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences
    WHERE last_value IS NOT NULL AND schemaname NOT IN ('public', 'seeds');
  FOR found IN SELECT tablename, string_to_array(tablename, '.') AS target FROM pg_tables WHERE schemaname = 'seeds'
  LOOP
    EXECUTE format('INSERT INTO %I.%I SELECT * FROM seeds.%I', found.target[1], found.target[2], found.tablename);
  END LOOP;
  PERFORM setval('admin_api.labels_id_seq', 100, false);
END
$$
"""


class Database:
    """A clean, migrated database with one role per service. `engine` has the superuser's connections of all tests."""

    def __init__(self, shared: SharedServers, name: str, engine: Engine) -> None:
        self._shared = shared
        self.name = name
        self._engine = engine

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
        return await self._as_superuser(lambda session: session.execute(select(model)).scalars().all())

    async def add(self, *rows: SQLModel) -> None:
        """Insert rows, as the superuser; they come back with their ids."""
        await self._as_superuser(lambda session: session.add_all(rows))

    async def cut_connections(self, service: str) -> None:
        """Cut every connection of a service to this database, as a restart would; other workers keep theirs."""
        statement = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = :role AND datname = current_database()"
        )
        await self._as_superuser(lambda session: session.execute(statement, {"role": f"flotilla_{service}"}))

    async def _as_superuser(self, work: Callable[[Session], T]) -> T:
        """Do it in a thread: it may wait for a lock that a test holds."""

        def run() -> T:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return work(session)

        return await asyncio.to_thread(run)


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
        connection.execute(CLEAN)


@contextmanager
def superuser(shared: SharedServers, name: str) -> Iterator[Engine]:
    """Keep connections of the superuser."""
    engine = create_engine(shared.owner_url(name), pool_pre_ping=True)
    try:
        yield engine
    finally:
        engine.dispose()


def clean(engine: Engine) -> None:
    """Empty every table that has rows, restart all numbers, and put back what the migrations had put there."""
    with engine.begin() as connection:
        connection.execute(text("SELECT seeds.clean()"))


def _tables(connection: psycopg.Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'public', 'seeds') ORDER BY 1, 2"
    ).fetchall()
    return [(str(schema), str(table)) for schema, table in rows]


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")

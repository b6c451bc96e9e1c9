"""Leases: Postgres advisory locks, held as long as a connection of their own lives; and turns, for a transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from flotilla_common.db.engine import connect_alone
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from log_shipper.errors import LeaseLost

RETRY_SECONDS = 1.0
THROWING_AWAY = "throwing away"  # what of the stream nobody needs; whoever needs it again takes turns with that
CONFIRM_TIMEOUT_SECONDS = 5.0


class Lease:
    """A held lease."""

    def __init__(self, name: str, connection: psycopg.AsyncConnection) -> None:
        self.name = name
        self._connection = connection

    async def confirm(self) -> None:
        """Make sure that the lease is still held.

        Raises:
            LeaseLost: its connection is gone, and the lock with it.

        """
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_SECONDS):
                await self._connection.execute("SELECT 1")
        except Exception as error:
            raise LeaseLost(f"{self.name}: {error!r}") from error


@asynccontextmanager
async def hold(engine: AsyncEngine, name: str) -> AsyncIterator[Lease]:
    """Wait until no other replica holds the lease, then hold it.

    On a connection beside the engine's pool: there may be more leases than that has connections.
    """
    async with await connect_alone(engine.url) as connection:
        while not await _try_lock(connection, name):  # noqa: ASYNC110 - Postgres does not tell
            await asyncio.sleep(RETRY_SECONDS)
        yield Lease(name, connection)


async def _try_lock(connection: psycopg.AsyncConnection, name: str) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [_key(name)])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def take_turns(session: AsyncSession, name: str) -> None:
    """Wait for whoever does the same, until their transaction ends; then keep others waiting, until this one does."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _key(name)})


def _key(name: str) -> int:
    digest = hashlib.sha256(f"log_shipper:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)

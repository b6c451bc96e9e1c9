"""The keeper's lease: a Postgres advisory lock, held as long as its connection lives, which also hears of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from flotilla_common.db.engine import connect_alone
from psycopg import sql

from live_query.store.campaigns import CHANNEL

RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0


class Lease:
    """A held lease."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    async def wait(self, seconds: float) -> set[int]:
        """Return the campaigns that changed since the last call, as soon as there are any, at the latest after a time.

        Raises:
            psycopg.OperationalError: the connection is gone, and the lease with it.

        """
        changed = {int(notice.payload) async for notice in self._connection.notifies(timeout=seconds, stop_after=1)}
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._connection.execute("SELECT 1")
        return changed


@asynccontextmanager
async def hold(url: str) -> AsyncIterator[Lease]:
    """Wait until no other replica holds the lease, then hold it. `url` is a SQLAlchemy URL."""
    async with await connect_alone(url) as connection:
        while not await _try_lock(connection):  # noqa: ASYNC110 - Postgres does not tell
            await asyncio.sleep(RETRY_SECONDS)
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        yield Lease(connection)


async def _try_lock(connection: psycopg.AsyncConnection) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(hashtextextended('live_query.keeper', 0))")
    row = await cursor.fetchone()
    return row is not None and bool(row[0])

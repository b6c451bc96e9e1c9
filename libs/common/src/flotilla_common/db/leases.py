"""Leases: Postgres advisory locks, each held as long as a connection of its own lives; among replicas one has it.

Postgres ends the session of a holder that says nothing: one that is frozen, or whose machine or network is gone, keeps
the others waiting for SILENCE_SECONDS and no longer. A holder that wakes later finds its connection closed. Until then
it does not know, so what it writes must be refused by something else (a cursor that has moved, a row that is settled).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from sqlalchemy import URL

from flotilla_common.db.engine import connect_alone
from flotilla_common.errors import LeaseLost

log = structlog.get_logger()

RETRY_SECONDS = 1.0
SILENCE_SECONDS = 30.0  # a holder speaks three times as often; within a transaction see SILENT_TRANSACTION_MS
CONFIRM_TIMEOUT_SECONDS = 5.0


class Lease:
    """A held lease. Its connection may be used for what lives as long as it, and to listen for some seconds."""

    def __init__(self, name: str, connection: psycopg.AsyncConnection) -> None:
        self.name = name
        self.connection = connection

    async def confirm(self) -> None:
        """Make sure that the lease is still held.

        Raises:
            LeaseLost: its connection is gone, and the lock with it.

        """
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_SECONDS):
                await self.connection.execute("SELECT 1")
        except Exception as error:
            raise LeaseLost(f"{self.name}: {error!r}") from error

    async def keep(self) -> None:
        """Speak now and then (cancel to stop), when nobody else does on this connection; return when it is lost."""
        while True:
            await asyncio.sleep(SILENCE_SECONDS / 3)
            if self.connection.lock.locked() or self.connection.info.transaction_status != TransactionStatus.IDLE:
                continue  # somebody else speaks
            try:
                await self.confirm()
            except LeaseLost as error:
                if self.connection.closed:
                    log.warning("a lease is lost", lease=self.name, error=str(error))
                    return
                log.warning("a lease could not be confirmed", lease=self.name, error=str(error))


@asynccontextmanager
async def hold(url: str | URL, name: str) -> AsyncIterator[Lease]:
    """Wait until nobody else holds the lease of this name, then hold it. `url` is SQLAlchemy's.

    On a connection beside any pool: there may be more leases than that has connections.
    """
    connection = await connect_alone(url)
    try:
        await connection.execute(
            "SELECT set_config('idle_session_timeout', %s, false)", [f"{SILENCE_SECONDS * 1000:.0f}"]
        )
        while not await _try_lock(connection, name):  # noqa: ASYNC110 - Postgres does not tell
            await asyncio.sleep(RETRY_SECONDS)
        lease = Lease(name, connection)
        kept = asyncio.create_task(lease.keep(), name=f"lease {name}")
        try:
            yield lease
        finally:
            kept.cancel()
            await asyncio.wait([kept])
    finally:
        await connection.close()  # never waits; its own context rolls back, and a cancellation then leaves it open


async def _try_lock(connection: psycopg.AsyncConnection, name: str) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])

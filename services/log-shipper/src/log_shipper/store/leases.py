"""Leases: Postgres advisory locks, held as long as a connection of their own lives; and turns, for a transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flotilla_common.db.engine import unpooled
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from log_shipper.errors import LeaseLost

RETRY_SECONDS = 1.0
THROWING_AWAY = "throwing away"  # what of the stream nobody needs; whoever needs it again takes turns with that
CONFIRM_TIMEOUT_SECONDS = 5.0


class Lease:
    """A held lease."""

    def __init__(self, name: str, connection: AsyncConnection) -> None:
        self.name = name
        self._connection = connection

    async def confirm(self) -> None:
        """Make sure that the lease is still held.

        Raises:
            LeaseLost: its connection is gone, and the lock with it.

        """
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_SECONDS):
                await self._connection.execute(text("SELECT 1"))
        except Exception as error:
            raise LeaseLost(f"{self.name}: {error!r}") from error


@asynccontextmanager
async def hold(engine: AsyncEngine, name: str) -> AsyncIterator[Lease]:
    """Wait until no other replica holds the lease, then hold it.

    On a connection beside the engine's pool: there may be more leases than that has connections.
    """
    connection = await unpooled(engine).connect()
    try:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        statement = text("SELECT pg_try_advisory_lock(:key)")
        while not await connection.scalar(statement, {"key": _key(name)}):  # noqa: ASYNC110 - Postgres does not tell
            await asyncio.sleep(RETRY_SECONDS)
        yield Lease(name, connection)
    finally:
        await connection.invalidate()  # nothing more is said to a server that may be gone: the lock ends with it
        await connection.close()


async def take_turns(session: AsyncSession, name: str) -> None:
    """Wait for whoever does the same, until their transaction ends; then keep others waiting, until this one does."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _key(name)})


def _key(name: str) -> int:
    digest = hashlib.sha256(f"log_shipper:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)

"""The keeper's lease, whose connection also hears of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flotilla_common.db import leases
from psycopg import sql

from live_query.store.campaigns import CHANNEL

TIMEOUT_SECONDS = 5.0


class KeeperLease:
    """A held lease."""

    def __init__(self, lease: leases.Lease) -> None:
        self._connection = lease.connection

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
async def hold(url: str) -> AsyncIterator[KeeperLease]:
    """Wait until no other replica keeps house, then hold the lease. `url` is SQLAlchemy's."""
    async with leases.hold(url, "live_query.keeper") as lease:
        await lease.connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        yield KeeperLease(lease)

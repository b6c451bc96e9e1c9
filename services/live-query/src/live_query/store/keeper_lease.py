"""The keeper's lease, whose connection also hears of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flotilla_common.db import leases
from psycopg import sql

from live_query.store.campaigns import CHANNEL


class KeeperLease:
    """A held lease."""

    def __init__(self, lease: leases.Lease) -> None:
        self._lease = lease

    async def wait(self, seconds: float) -> set[int]:
        """Return the campaigns that changed since the last call, as soon as there are any, at the latest after a time.

        Raises:
            LeaseLost, psycopg.OperationalError: the connection is gone, and the lease with it.

        """
        notices = self._lease.connection.notifies(timeout=seconds, stop_after=1)
        changed = {int(notice.payload) async for notice in notices}
        await self._lease.confirm()
        return changed


@asynccontextmanager
async def hold(url: str) -> AsyncIterator[KeeperLease]:
    """Wait until no other replica keeps house, then hold the lease. `url` is SQLAlchemy's."""
    async with leases.hold(url, "live_query.keeper") as lease:
        await lease.connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        yield KeeperLease(lease)

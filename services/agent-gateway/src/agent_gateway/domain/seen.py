"""Which hosts polled since the last report. Losing a report costs a late "seen"."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import datetime

from flotilla_common.clock import utc_now
from flotilla_common.contracts.hosts import HostsSeenV1
from pyroaring import BitMap

Send = Callable[[HostsSeenV1], Awaitable[None]]


class SeenHosts:
    """A set of host ids between two reports."""

    def __init__(self) -> None:
        self._ids: set[int] = set()

    def add(self, host_id: int) -> None:
        """Remember that a host was here."""
        self._ids.add(host_id)

    def take(self, now: datetime) -> HostsSeenV1 | None:
        """Return the report and begin anew; None when nobody was here."""
        if not self._ids:
            return None
        ids, self._ids = self._ids, set()
        return HostsSeenV1(bitmap=base64.b64encode(BitMap(ids).serialize()).decode(), seen_at=now)


async def report_seen(seen: SeenHosts, send: Send, *, first_seconds: float, interval_seconds: float) -> None:
    """Report for ever, the first time sooner."""
    await asyncio.sleep(first_seconds)
    while True:
        report = seen.take(utc_now())
        if report is not None:
            await send(report)
        await asyncio.sleep(interval_seconds)

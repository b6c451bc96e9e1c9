"""Which hosts polled, and whose lines came into custody, since the last report. Losing one costs a late "seen"."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from flotilla_common.clock import utc_now
from flotilla_common.contracts.hosts import HostsSeenV1
from pyroaring import BitMap

Send = Callable[[HostsSeenV1], Awaitable[None]]


class SeenHosts:
    """Sets of host ids between two reports."""

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._logged: set[int] = set()

    def add(self, host_id: int) -> None:
        """Remember that a host was here."""
        self._ids.add(host_id)

    def have_logged(self, host_ids: Iterable[int]) -> None:
        """Remember that lines of these hosts came into custody."""
        self._logged.update(host_ids)

    def take(self, now: datetime) -> HostsSeenV1 | None:
        """Return the report and begin anew; None when nobody was here."""
        if not self._ids and not self._logged:
            return None
        ids, self._ids = self._ids, set()
        logged, self._logged = self._logged, set()
        return HostsSeenV1(bitmap=_encoded(ids), seen_at=now, logged=_encoded(logged) if logged else "")


def _encoded(ids: Iterable[int]) -> str:
    return base64.b64encode(BitMap(ids).serialize()).decode()


async def report_seen(seen: SeenHosts, send: Send, *, first_seconds: float, interval_seconds: float) -> None:
    """Report for ever, the first time sooner."""
    await asyncio.sleep(first_seconds)
    while True:
        report = seen.take(utc_now())
        if report is not None:
            await send(report)
        await asyncio.sleep(interval_seconds)

"""Hosts that are online and whose log lines have stopped coming: how many, as a metric without hosts in it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from flotilla_common.bus import outage

from inventory import metrics
from inventory.deps import Deps
from inventory.store import seen

log = structlog.get_logger()


async def count_every(seconds: float, longest: timedelta, deps: Deps) -> None:
    """Count for ever, every so many seconds; through outages of Postgres."""
    while True:
        try:
            await count(longest, deps)
        except outage.kinds() as error:
            log.warning("log gaps are not counted", error=repr(error))
        await asyncio.sleep(seconds)


async def count(longest: timedelta, deps: Deps) -> None:
    """Set the metric: hosts whose lines stopped, and hosts that never sent any."""
    async with deps.sessions.begin() as session:
        found = await seen.log_gaps(session, deps.clock(), longest)
    metrics.LOG_GAPS.labels("stopped").set(found.stopped)
    metrics.LOG_GAPS.labels("never").set(found.never)

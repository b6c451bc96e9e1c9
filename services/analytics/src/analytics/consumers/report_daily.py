"""Every day: build a report and send it. Nothing happens without a collector."""

from __future__ import annotations

import asyncio

import structlog
from flotilla_common.bus import outage

from analytics.deps import ReporterDeps
from analytics.domain import reporting

log = structlog.get_logger()

LOOK_SECONDS = 30.0


async def report_daily(deps: ReporterDeps) -> None:
    """Look for ever (cancel to stop), through outages, whether there is something to build or to send."""
    while True:
        try:
            await look(deps)
        except outage.kinds() as error:
            log.warning("reporter waits", error=repr(error))
        await asyncio.sleep(LOOK_SECONDS)


async def look(deps: ReporterDeps) -> None:
    """Build the day's report when it is time, and send what is pending. Repeating it is harmless."""
    if deps.collector is None:
        return
    async with deps.sessions.begin() as session:
        await reporting.keep_due(session, deps.clock())
    await reporting.send(deps.sessions, deps.collector, deps.clock)

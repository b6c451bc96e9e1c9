"""Every day: build a report and send it. Without a collector nothing is built, and old reports are forgotten."""

from __future__ import annotations

import asyncio

import structlog
from flotilla_common.bus import outage

from analytics.deps import ReporterDeps
from analytics.domain import reporting
from analytics.store import sent_reports

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
    """Forget old reports, build the day's when it is time, and send what is pending. Repeating it is harmless."""
    async with deps.sessions.begin() as session:
        await sent_reports.forget_old(session, deps.clock())
        if deps.collector is not None:
            await reporting.keep_due(session, deps.clock())
    if deps.collector is not None:
        await reporting.send(deps.sessions, deps.collector, deps.clock)

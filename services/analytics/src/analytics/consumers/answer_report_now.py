"""analytics.report_now.v1: build a report now, show it, and send it when there is a collector."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.analytics import ReportNowV1, UsageReportedV1

from analytics.deps import ReporterDeps
from analytics.domain import reporting


async def answer(request: ReportNowV1, deps: ReporterDeps) -> UsageReportedV1:
    """Asking twice builds two reports; a collector takes the latest of an installation."""
    del request
    async with deps.sessions.begin() as session:
        row = await reporting.keep_new(session, deps.clock(), to_be_sent=deps.collector is not None)
    if deps.collector is not None:
        row = await reporting.send(deps.sessions, deps.collector, deps.clock, row.id) or row
    return UsageReportedV1(report=row.body, outcome=row.outcome, error=row.error)


RESPONDER = Responder(ReportNowV1, answer, concurrency=1)

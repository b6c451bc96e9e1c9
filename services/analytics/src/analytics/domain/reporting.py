"""Keep a report that is due, and send what is kept.

The database is the schedule: a report is due a day after the last one was built, whatever was restarted meanwhile. The
installation's row is locked while that is decided, and a report is put off before it is sent, so that several replicas
agree. No transaction is open while a collector is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from flotilla_common.db.models.analytics import SentReport
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from analytics import metrics
from analytics.collector_client import CollectorClient
from analytics.domain.building import build
from analytics.domain.schedule import is_due, next_attempt
from analytics.errors import CollectorDown, ReportRefused
from analytics.store import installation, sent_reports

log = structlog.get_logger()


async def keep_new(session: AsyncSession, now: datetime, *, to_be_sent: bool) -> SentReport:
    """Build a report now and keep it."""
    identifier = await installation.lock(session)
    report = await build(session, identifier, now)
    row = SentReport(
        report_id=report.report_id,
        body=report.model_dump(mode="json"),
        outcome="pending" if to_be_sent else "not_sent",
        created_at=now,
        next_attempt_at=now,
    )
    session.add(row)
    return row


async def keep_due(session: AsyncSession, now: datetime) -> None:
    """Keep the day's report when it is time; older ones that never got through are given up for it."""
    await installation.lock(session)
    if is_due(await sent_reports.last_meant_to_be_sent(session), now):
        await sent_reports.supersede_pending(session)
        await keep_new(session, now, to_be_sent=True)


async def send(
    sessions: async_sessionmaker[AsyncSession],
    collector: CollectorClient,
    clock: Callable[[], datetime],
    report_id: int | None = None,
) -> SentReport | None:
    """Try to send a pending report whose time has come (or the given one); return what became of it."""
    claimed = await _claim(sessions, clock(), report_id)
    if claimed is None:
        return None
    failure: CollectorDown | ReportRefused | None = None
    try:
        await collector.post(claimed.body)
    except (CollectorDown, ReportRefused) as error:
        failure = error
    async with sessions.begin() as session:
        row = await sent_reports.find(session, claimed.id)
        if row is not None:
            _note(row, failure, clock())
    metrics.ATTEMPTS.labels("gone" if row is None else row.outcome).inc()
    log.info("tried to send a usage report", report=str(claimed.report_id), error=str(failure or ""))
    return row


async def _claim(sessions: async_sessionmaker[AsyncSession], now: datetime, report_id: int | None) -> SentReport | None:
    """Return a report to send. Its next attempt is put off first, so that no other replica sends it meanwhile."""
    async with sessions.begin() as session:
        row = await sent_reports.next_due(session, now, report_id)
        if row is not None:
            row.attempts += 1
            row.next_attempt_at = next_attempt(row.attempts, now)
    return row


def _note(row: SentReport, failure: CollectorDown | ReportRefused | None, now: datetime) -> None:
    """Write down how an attempt ended. What a newer report has superseded stays so unless it got through."""
    row.error = "" if failure is None else str(failure)
    if failure is None:
        row.outcome, row.sent_at = "accepted", now
    elif isinstance(failure, ReportRefused):
        row.outcome = "refused"
    else:
        row.next_attempt_at = next_attempt(row.attempts, now)

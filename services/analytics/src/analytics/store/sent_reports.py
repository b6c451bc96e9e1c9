"""Reports that were built here, and what became of them. `analytics.sent_reports`."""

from __future__ import annotations

from datetime import datetime, timedelta

from flotilla_common.db.models.analytics import SentReport
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

KEPT = timedelta(days=90)


async def last_meant_to_be_sent(session: AsyncSession) -> datetime | None:
    """Return when the newest report was built that a collector should have."""
    statement = select(func.max(col(SentReport.created_at))).where(col(SentReport.outcome) != "not_sent")
    return (await session.execute(statement)).scalar_one()


async def supersede_pending(session: AsyncSession) -> None:
    """Give up on older reports: a newer one says more."""
    await session.execute(update(SentReport).where(col(SentReport.outcome) == "pending").values(outcome="superseded"))


async def next_due(session: AsyncSession, now: datetime, report_id: int | None = None) -> SentReport | None:
    """Return a pending report whose time has come (or the given one), locked; None also when another replica has it."""
    statement = select(SentReport).where(col(SentReport.outcome) == "pending")
    if report_id is None:
        statement = statement.where(col(SentReport.next_attempt_at) <= now)
    else:
        statement = statement.where(col(SentReport.id) == report_id)
    statement = statement.order_by(col(SentReport.id)).limit(1).with_for_update(skip_locked=True)
    return (await session.execute(statement)).scalar_one_or_none()


async def find(session: AsyncSession, row_id: int | None) -> SentReport | None:
    """Return a report, locked; None when it is gone."""
    statement = select(SentReport).where(col(SentReport.id) == row_id).with_for_update()
    return (await session.execute(statement)).scalar_one_or_none()


async def forget_old(session: AsyncSession, now: datetime) -> None:
    """Delete reports from long ago."""
    await session.execute(delete(SentReport).where(col(SentReport.created_at) < now - KEPT))

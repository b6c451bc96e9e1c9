"""Reports that installations posted to this collector. `analytics.received_reports`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flotilla_common.db.models.analytics import ReceivedReport
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def add(session: AsyncSession, report_id: UUID, anonymous_identifier: UUID, body: dict[str, Any]) -> bool:
    """Keep a report; False when it is here already."""
    row = {"report_id": report_id, "anonymous_identifier": anonymous_identifier, "body": body}
    statement = insert(ReceivedReport).values(row).on_conflict_do_nothing(index_elements=["report_id"])
    stored = await session.execute(statement.returning(col(ReceivedReport.id)))
    return stored.scalar_one_or_none() is not None

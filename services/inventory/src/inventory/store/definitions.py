"""What admin-api's tables say about teams, labels and scoped queries."""

from __future__ import annotations

from flotilla_common.db.models.admin_api import Label, Query, QueryLabel, Team
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def team_exists(session: AsyncSession, team_id: int) -> bool:
    """Whether there is such a team."""
    return bool(await session.scalar(select(exists().where(col(Team.id) == team_id))))


async def label(session: AsyncSession, label_id: int) -> Label | None:
    """Return a label's definition."""
    return await session.get(Label, label_id)


async def scoping_labels(session: AsyncSession) -> frozenset[int]:
    """Return the existing labels that scope a saved query with an interval."""
    statement = (
        select(col(QueryLabel.label_id))
        .join(Query, col(Query.id) == col(QueryLabel.query_id))
        .join(Label, col(Label.id) == col(QueryLabel.label_id))
        .where(col(Query.saved), col(Query.interval_seconds) > 0)
        .distinct()
    )
    return frozenset((await session.execute(statement)).scalars())

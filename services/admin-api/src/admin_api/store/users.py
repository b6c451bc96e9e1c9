"""Tables users and user_teams."""

from __future__ import annotations

from flotilla_common.db.models.admin_api import User, UserTeam
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def count(session: AsyncSession) -> int:
    """Return how many users there are."""
    return (await session.scalar(select(func.count()).select_from(User))) or 0


async def team_roles(session: AsyncSession, user_id: int) -> dict[int, str]:
    """Return a user's role on each team."""
    rows = await session.execute(
        select(col(UserTeam.team_id), col(UserTeam.role)).where(col(UserTeam.user_id) == user_id)
    )
    return {row.team_id: row.role for row in rows}

"""The anonymous random identifier of this installation. `analytics.installation`."""

from __future__ import annotations

from uuid import UUID, uuid4

from flotilla_common.db.models.analytics import Installation
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def lock(session: AsyncSession) -> UUID:
    """Return the identifier (made at the first call), and keep other replicas waiting until the transaction ends."""
    fresh = {"id": 1, "anonymous_identifier": uuid4()}
    await session.execute(insert(Installation).values(fresh).on_conflict_do_nothing())
    found = await session.execute(select(col(Installation.anonymous_identifier)).with_for_update())
    return found.scalar_one()

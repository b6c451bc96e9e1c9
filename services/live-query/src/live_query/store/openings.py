"""Campaigns that gateways may know of already, while their ledgers are being written."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from flotilla_common.db.models.live_query import Campaign, Opening
from sqlalchemy import BigInteger, any_, cast, delete, exists, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def add(session: AsyncSession, opening: Opening) -> None:
    """Insert one."""
    session.add(opening)
    await session.flush()


async def take(session: AsyncSession, campaign_ids: Collection[int]) -> list[Opening]:
    """Lock and return those of these that are there still. Whoever has one locked is waited for: then it is gone."""
    chosen = col(Opening.campaign_id) == any_(cast(sorted(campaign_ids), ARRAY(BigInteger)))
    statement = select(Opening).where(chosen).order_by(col(Opening.campaign_id)).with_for_update()
    return list((await session.execute(statement)).scalars())


async def remove(session: AsyncSession, campaign_id: int) -> None:
    """Remove one that is finished."""
    await session.execute(delete(Opening).where(col(Opening.campaign_id) == campaign_id))


async def by_request(session: AsyncSession, request_id: UUID) -> int | None:
    """Return the campaign that is being opened for a request."""
    found: int | None = await session.scalar(
        select(col(Opening.campaign_id)).where(col(Opening.request_id) == request_id)
    )
    return found


async def is_known(session: AsyncSession, request_id: UUID) -> bool:
    """Whether a request has started a campaign, or opens one."""
    opening = exists().where(col(Opening.request_id) == request_id)
    return bool(await session.scalar(select(or_(opening, exists().where(col(Campaign.request_id) == request_id)))))


async def ids(session: AsyncSession) -> set[int]:
    """Return all of them."""
    return set((await session.execute(select(col(Opening.campaign_id)))).scalars())


async def left_behind(session: AsyncSession, before: datetime) -> list[int]:
    """Return those that were begun before a time, and that nobody works on; ascending."""
    statement = select(col(Opening.campaign_id)).where(col(Opening.created_at) < before)
    found = await session.execute(statement.order_by(col(Opening.campaign_id)).with_for_update(skip_locked=True))
    return list(found.scalars())

"""Reads of live-query's carves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from flotilla_common.db.models.live_query import Carve, CarveBlock
from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store.listing import ListOptions, Sortable, page_of

ORDER_KEYS: Mapping[str, Sortable] = {
    name: col(getattr(Carve, name))
    for name in (
        *("id", "created_at", "host_id", "name", "block_count", "block_size", "carve_size", "request_id", "error"),
        "max_block",
    )
} | {"carve_id": col(Carve.carve_guid)}


async def page(session: AsyncSession, options: ListOptions, now: datetime, *, expired: bool) -> Sequence[Carve]:
    """Return a page; `query` means nothing here, and expired ones come only where they are wanted."""
    statement = select(Carve)
    if not expired:
        statement = statement.where(_is_kept(now))
    rows, _more = await page_of(session, statement, options, order_keys=ORDER_KEYS, row_id=col(Carve.id))
    return rows


async def by_id(session: AsyncSession, carve_id: int) -> Carve | None:
    """Return a carve."""
    return await session.get(Carve, carve_id)


async def stored_blocks(session: AsyncSession, carve_id: int, first: int, limit: int) -> Sequence[CarveBlock]:
    """Return blocks that are whole, in their order, from a number on."""
    statement = select(CarveBlock).where(
        col(CarveBlock.carve_id) == carve_id,
        col(CarveBlock.block_id) >= first,
        col(CarveBlock.stored_at).is_not(None),
    )
    return (await session.scalars(statement.order_by(col(CarveBlock.block_id)).limit(limit))).all()


def _is_kept(now: datetime) -> ColumnElement[bool]:
    return and_(col(Carve.expired_at).is_(None), col(Carve.expires_at) > now)

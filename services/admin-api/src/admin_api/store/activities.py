"""Table activities."""

from __future__ import annotations

from collections.abc import Sequence

from flotilla_common.db.models.admin_api import Activity
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store.listing import ListOptions, Sortable, page_of

ORDER_KEYS: dict[str, Sortable] = {
    "id": col(Activity.id),
    "a.id": col(Activity.id),
    "created_at": col(Activity.created_at),
    "a.created_at": col(Activity.created_at),
}


async def add(session: AsyncSession, activity: Activity) -> None:
    """Store one."""
    session.add(activity)


async def page(session: AsyncSession, options: ListOptions) -> tuple[Sequence[Activity], bool]:
    """Return a page and whether there are more."""
    return await page_of(session, select(Activity), options, order_keys=ORDER_KEYS, row_id=col(Activity.id))

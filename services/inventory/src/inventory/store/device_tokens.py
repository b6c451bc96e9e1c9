"""Device tokens, one a host, hashed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flotilla_common.db.models.inventory import DeviceToken, host_revision
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store.arrays import is_any_of


async def find(session: AsyncSession, host_id: int) -> DeviceToken | None:
    """Return the token of a locked host."""
    return await session.get(DeviceToken, host_id)


async def put(session: AsyncSession, host_id: int, token_hash: bytes, now: datetime) -> int | None:
    """Set the token of a locked host; return its revision, None when another host has the same token."""
    row = {"host_id": host_id, "token_hash": token_hash, "set_at": now, "revision": host_revision.next_value()}
    await remove(session, [host_id])
    statement = insert(DeviceToken).values(**row).on_conflict_do_nothing().returning(col(DeviceToken.revision))
    return (await session.execute(statement)).scalar_one_or_none()


async def remove(session: AsyncSession, host_ids: Sequence[int]) -> None:
    """Remove the tokens of locked hosts."""
    statement = delete(DeviceToken).where(is_any_of(col(DeviceToken.host_id), host_ids))
    await session.execute(statement, execution_options={"synchronize_session": False})

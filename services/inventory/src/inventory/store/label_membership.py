"""Who is in which label."""

from __future__ import annotations

from collections.abc import Sequence

from flotilla_common.db.models.inventory import Host, LabelMembership
from sqlalchemy import BigInteger, delete, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store.arrays import is_any_of

_label, _host = col(LabelMembership.label_id), col(LabelMembership.host_id)


async def members(session: AsyncSession, label_id: int) -> set[int]:
    """Return the ids of the label's hosts."""
    return set((await session.execute(select(_host).where(_label == label_id))).scalars())


async def add(session: AsyncSession, label_id: int, host_ids: Sequence[int]) -> None:
    """Make locked hosts members of a label."""
    source = select(literal(label_id, BigInteger), col(Host.id)).where(is_any_of(col(Host.id), host_ids))
    await session.execute(insert(LabelMembership).from_select(["label_id", "host_id"], source).on_conflict_do_nothing())


async def remove(session: AsyncSession, label_id: int, host_ids: Sequence[int]) -> None:
    """Take locked hosts out of a label."""
    await session.execute(delete(LabelMembership).where(_label == label_id, is_any_of(_host, host_ids)))


async def remove_hosts(session: AsyncSession, host_ids: Sequence[int]) -> None:
    """Take locked hosts out of every label."""
    await session.execute(delete(LabelMembership).where(is_any_of(_host, host_ids)))


async def remove_label(session: AsyncSession, label_id: int) -> None:
    """Take every host out of a label."""
    await session.execute(delete(LabelMembership).where(_label == label_id))

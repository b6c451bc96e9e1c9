"""Table labels, and reads of inventory's label membership."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flotilla_common.db.models.admin_api import Label
from flotilla_common.db.models.inventory import Host, LabelMembership
from sqlalchemy import Text, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store import host_scope
from admin_api.store.host_scope import VisibleTeams, one_of
from admin_api.store.listing import ListOptions, Sortable, page_of

_ORDER_KEYS = [
    "id",
    "name",
    "description",
    "query",
    "platform",
    "label_type",
    "label_membership_type",
    "author_id",
    "created_at",
    "updated_at",
]


async def page(session: AsyncSession, options: ListOptions) -> Sequence[Label]:
    """Return a page of labels."""
    keys: dict[str, Sortable] = {name: col(getattr(Label, name)) for name in _ORDER_KEYS}
    rows, _ = await page_of(session, select(Label), options, order_keys=keys, row_id=col(Label.id))
    return rows


async def every(session: AsyncSession) -> list[Label]:
    """Return all labels, by id."""
    return list(await session.scalars(select(Label).order_by(col(Label.id))))


async def by_id(session: AsyncSession, label_id: int) -> Label | None:
    """Return a label."""
    found: Label | None = await session.scalar(select(Label).where(col(Label.id) == label_id))
    return found


async def by_ids(session: AsyncSession, label_ids: Collection[int]) -> list[Label]:
    """Return those of these labels that exist."""
    return list(await session.scalars(select(Label).where(one_of(col(Label.id), label_ids)).order_by(col(Label.id))))


async def by_name(session: AsyncSession, name: str) -> Label | None:
    """Return the label of this name, whatever the case of its letters."""
    found: Label | None = await session.scalar(select(Label).where(func.lower(col(Label.name)) == func.lower(name)))
    return found


async def by_names(session: AsyncSession, names: Collection[str], *, lock: bool = False) -> list[Label]:
    """Return those of these labels that exist; with `lock` nobody removes them until the transaction ends."""
    wanted = select(func.lower(func.unnest(cast(sorted(names), ARRAY(Text)))))
    statement = select(Label).where(func.lower(col(Label.name)).in_(wanted)).order_by(col(Label.id))
    return list(await session.scalars(statement.with_for_update(read=True) if lock else statement))


async def lock(session: AsyncSession, label: Label) -> bool:
    """Keep everybody else from using a label until the transaction ends; false: it is gone."""
    statement = select(col(Label.id)).where(col(Label.id) == label.id).with_for_update()
    return await session.scalar(statement) is not None


async def counts(session: AsyncSession, label_ids: Collection[int], teams: VisibleTeams) -> dict[int, int]:
    """Return label id -> how many of its hosts somebody may see; labels without any are left out."""
    statement = (
        select(col(LabelMembership.label_id), func.count())
        .join(Host, col(Host.id) == col(LabelMembership.host_id))
        .where(one_of(col(LabelMembership.label_id), label_ids), host_scope.visible(teams))
        .group_by(col(LabelMembership.label_id))
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def host_ids(session: AsyncSession, label_id: int, teams: VisibleTeams) -> list[int]:
    """Return a label's hosts that somebody may see, ascending."""
    statement = (
        select(col(LabelMembership.host_id))
        .join(Host, col(Host.id) == col(LabelMembership.host_id))
        .where(col(LabelMembership.label_id) == label_id, host_scope.visible(teams))
        .order_by(col(LabelMembership.host_id))
    )
    return list(await session.scalars(statement))


async def host_names(session: AsyncSession, label_id: int, teams: VisibleTeams) -> list[str]:
    """Return the host names of a label's hosts that somebody may see."""
    statement = (
        select(col(Host.hostname))
        .join(LabelMembership, col(Host.id) == col(LabelMembership.host_id))
        .where(col(LabelMembership.label_id) == label_id, host_scope.visible(teams))
        .order_by(col(Host.id))
    )
    return list(await session.scalars(statement))

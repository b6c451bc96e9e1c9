"""Table queries and the labels that scope them. Ad hoc live queries (`saved` false) are never listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flotilla_common.db.models.admin_api import Label, Query, QueryLabel
from sqlalchemy import ColumnElement, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store.host_scope import contains, one_of
from admin_api.store.listing import ListOptions, Sortable, page_of
from admin_api.store.naming import is_named

_ORDER_KEYS = [
    "id",
    "name",
    "description",
    "query",
    "team_id",
    "platform",
    "min_osquery_version",
    "logging",
    "automations_enabled",
    "observer_can_run",
    "discard_data",
    "author_id",
    "author_name",
    "author_email",
    "created_at",
    "updated_at",
]
PLATFORMS = ("darwin", "linux", "windows", "chrome")


def in_scope(team_id: int | None, *, inherited: bool = False) -> ColumnElement[bool]:
    """Saved queries of a team (None: the global ones); with `inherited` the global ones too."""
    team = col(Query.team_id)
    scope = team.is_(None) if team_id is None else team == team_id
    return col(Query.saved).is_(True) & (or_(scope, team.is_(None)) if inherited else scope)


def runs_on(platform: str) -> ColumnElement[bool]:
    """Queries that name this platform, or none at all."""
    members = func.string_to_array(func.replace(col(Query.platform), " ", ""), ",")
    return or_(col(Query.platform) == "", func.array_position(members, platform).is_not(None))


def named_like(text: str) -> ColumnElement[bool]:
    """Queries whose name contains a text."""
    return col(Query.name).ilike(contains(text), escape="\\")


async def page(
    session: AsyncSession, where: Sequence[ColumnElement[bool]], options: ListOptions
) -> tuple[Sequence[Query], bool]:
    """Return a page of the queries that satisfy all conditions, and whether there are more."""
    keys: dict[str, Sortable] = {name: col(getattr(Query, name)) for name in _ORDER_KEYS}
    keys["interval"] = col(Query.interval_seconds)
    return await page_of(session, select(Query).where(*where), options, order_keys=keys, row_id=col(Query.id))


async def global_ones(session: AsyncSession) -> list[Query]:
    """Return all global saved queries, by id."""
    return list(await session.scalars(select(Query).where(in_scope(None)).order_by(col(Query.id))))


async def count(session: AsyncSession, where: Sequence[ColumnElement[bool]]) -> int:
    """Return how many queries satisfy all conditions."""
    return int(await session.scalar(select(func.count()).select_from(Query).where(*where)) or 0)


async def by_id(session: AsyncSession, query_id: int) -> Query | None:
    """Return a query, saved or ad hoc."""
    found: Query | None = await session.scalar(select(Query).where(col(Query.id) == query_id))
    return found


async def by_ids(session: AsyncSession, query_ids: Collection[int]) -> list[Query]:
    """Return those of these saved queries that exist."""
    where = (one_of(col(Query.id), query_ids), col(Query.saved).is_(True))
    return list(await session.scalars(select(Query).where(*where).order_by(col(Query.id))))


async def by_name(session: AsyncSession, name: str, team_id: int | None) -> Query | None:
    """Return a team's (None: the global) saved query of this name, whatever the case of its letters."""
    where = (in_scope(team_id), is_named(col(Query.name), name))
    found: Query | None = await session.scalar(select(Query).where(*where))
    return found


async def remove(session: AsyncSession, query_ids: Collection[int]) -> None:
    """Delete queries and their labels."""
    await session.execute(delete(QueryLabel).where(one_of(col(QueryLabel.query_id), query_ids)))
    await session.execute(delete(Query).where(one_of(col(Query.id), query_ids)))


async def set_labels(session: AsyncSession, query_id: int, label_ids: Collection[int]) -> None:
    """Replace the labels that scope a query."""
    await session.execute(delete(QueryLabel).where(col(QueryLabel.query_id) == query_id))
    if label_ids:
        rows = [{"query_id": query_id, "label_id": label_id} for label_id in sorted(label_ids)]
        await session.execute(insert(QueryLabel), rows)


async def labels_by_query(session: AsyncSession, query_ids: Collection[int]) -> dict[int, list[Label]]:
    """Return query id -> the labels that scope it, by name, for all these queries."""
    found: dict[int, list[Label]] = {query_id: [] for query_id in query_ids}
    statement = (
        select(col(QueryLabel.query_id), Label)
        .join(Label, col(Label.id) == col(QueryLabel.label_id))
        .where(one_of(col(QueryLabel.query_id), query_ids))
        .order_by(func.lower(col(Label.name)))
    )
    for query_id, label in await session.execute(statement):
        found[query_id].append(label)
    return found


async def using_label(session: AsyncSession, label_id: int) -> bool:
    """Whether any query is scoped by a label."""
    return await session.scalar(select(QueryLabel).where(col(QueryLabel.label_id) == label_id).limit(1)) is not None

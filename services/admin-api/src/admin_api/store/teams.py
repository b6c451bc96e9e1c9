"""Table teams, its members, and the numbers shown with a team."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flotilla_common.db.models.admin_api import EnrollSecret, Query, QueryLabel, Team, UserTeam
from flotilla_common.db.models.inventory import Host
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store.listing import ListOptions, Sortable, page_of
from admin_api.store.naming import is_named

ORDER_KEYS: dict[str, Sortable] = {
    name: col(getattr(Team, name)) for name in ("id", "name", "description", "created_at")
}


async def get(session: AsyncSession, team_id: int, *, lock: bool = False) -> Team | None:
    """Return one team; with `lock` nobody else changes it until the transaction ends."""
    return await session.get(Team, team_id, with_for_update=lock or None)


async def find_by_name(session: AsyncSession, name: str) -> Team | None:
    """Return the team of this name, whatever its case."""
    return (await session.scalars(select(Team).where(is_named(col(Team.name), name)))).one_or_none()


async def find_by_filename(session: AsyncSession, filename: str) -> Team | None:
    """Return the team that a GitOps file owns."""
    statement = select(Team).where(col(Team.document)["gitops_filename"].astext == filename).limit(1)
    return (await session.scalars(statement)).one_or_none()


async def existing(session: AsyncSession, team_ids: Iterable[int]) -> dict[int, Team]:
    """Return those of the teams that exist, by id."""
    statement = select(Team).where(col(Team.id).in_(list(team_ids)))
    return {team.id or 0: team for team in await session.scalars(statement)}


async def visible(session: AsyncSession, team_ids: frozenset[int] | None) -> Sequence[Team]:
    """Return the teams with these ids (None: all) by name."""
    statement = select(Team).order_by(func.lower(col(Team.name)), col(Team.id))
    if team_ids is not None:
        statement = statement.where(col(Team.id).in_(team_ids))
    return (await session.scalars(statement)).all()


async def page(session: AsyncSession, options: ListOptions, *, team_ids: frozenset[int] | None) -> Sequence[Team]:
    """Return a page of the teams with these ids (None: all)."""
    statement = select(Team)
    if team_ids is not None:
        statement = statement.where(col(Team.id).in_(team_ids))
    rows, _ = await page_of(
        session, statement, options, order_keys=ORDER_KEYS, row_id=col(Team.id), search=(col(Team.name),)
    )
    return rows


async def user_counts(session: AsyncSession, team_ids: Iterable[int]) -> dict[int, int]:
    """Return the number of members by team."""
    statement = (
        select(col(UserTeam.team_id), func.count())
        .where(col(UserTeam.team_id).in_(list(team_ids)))
        .group_by(col(UserTeam.team_id))
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def host_counts(session: AsyncSession, team_ids: Iterable[int]) -> dict[int, int]:
    """Return the number of hosts by team."""
    statement = (
        select(col(Host.team_id), func.count()).where(col(Host.team_id).in_(list(team_ids))).group_by(col(Host.team_id))
    )
    return {row[0] or 0: row[1] for row in await session.execute(statement)}


async def put_member(session: AsyncSession, team_id: int, user_id: int, role: str) -> None:
    """Add a member, or change the role."""
    await session.merge(UserTeam(user_id=user_id, team_id=team_id, role=role))
    await session.flush()


async def remove_member(session: AsyncSession, team_id: int, user_id: int) -> None:
    """Take a member out of the team."""
    membership = (col(UserTeam.team_id) == team_id) & (col(UserTeam.user_id) == user_id)
    await session.execute(delete(UserTeam).where(membership))


async def remove(session: AsyncSession, team_id: int) -> list[int]:
    """Remove a team with its members, secrets and queries; return the ids of those queries."""
    queries = list(await session.scalars(select(col(Query.id)).where(col(Query.team_id) == team_id)))
    await session.execute(delete(QueryLabel).where(col(QueryLabel.query_id).in_(queries)))
    await session.execute(delete(Query).where(col(Query.team_id) == team_id))
    for table in (UserTeam, EnrollSecret):
        await session.execute(delete(table).where(col(table.team_id) == team_id))
    await session.execute(delete(Team).where(col(Team.id) == team_id))
    return [query_id for query_id in queries if query_id is not None]

"""What a selection of hosts, labels and teams means (admin API part 14), and what people may select from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from flotilla_common.contracts.labels import ALL_HOSTS
from flotilla_common.db.models.admin_api import Label, Team, UserTeam
from flotilla_common.db.models.inventory import Host
from sqlalchemy import ColumnElement, and_, false, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store import host_scope, hosts
from admin_api.store.host_scope import VisibleTeams, contains, one_of

LIMIT = 10  # hosts, and labels, that one search offers


@dataclass(frozen=True)
class Selection:
    """Hosts named one by one, and groups. Team 0 stands for the hosts without a team."""

    hosts: frozenset[int] = frozenset()
    labels: frozenset[int] = frozenset()
    teams: frozenset[int] = frozenset()


async def builtin_ids(session: AsyncSession, label_ids: Collection[int]) -> frozenset[int]:
    """Return which of these labels the server itself defines."""
    if not label_ids:
        return frozenset()
    where = (one_of(col(Label.id), label_ids), col(Label.label_type) == "builtin")
    return frozenset(found for found in await session.scalars(select(col(Label.id)).where(*where)) if found is not None)


def selected(selection: Selection, builtin: Collection[int], teams: VisibleTeams) -> ColumnElement[bool]:
    """Whether a host is selected: named, or in a label of each kind and a team, as far as these are given."""
    return and_(
        host_scope.visible(teams),
        or_(one_of(col(Host.id), selection.hosts), _in_groups(selection, frozenset(builtin))),
    )


def _in_groups(selection: Selection, builtin: frozenset[int]) -> ColumnElement[bool]:
    if not selection.labels and not selection.teams:
        return false()
    if ALL_HOSTS in selection.labels:
        return true()
    given, regular = selection.labels & builtin, selection.labels - builtin
    return and_(
        hosts.has_any_label(given) if given else true(),
        hosts.has_any_label(regular) if regular else true(),
        or_(*(host_scope.in_team(team) for team in sorted(selection.teams))) if selection.teams else true(),
    )


async def labels(session: AsyncSession, text: str, leave_out: Collection[int]) -> list[Label]:
    """Return labels whose name contains a text, `All Hosts` first."""
    statement = (
        select(Label)
        .where(col(Label.name).ilike(contains(text), escape="\\"), ~one_of(col(Label.id), leave_out))
        .order_by(col(Label.id) != ALL_HOSTS, func.lower(col(Label.name)))
        .limit(LIMIT)
    )
    return list(await session.scalars(statement))


async def teams(session: AsyncSession, text: str, leave_out: Collection[int], visible: VisibleTeams) -> list[Team]:
    """Return teams that somebody may see whose name contains a text."""
    within = true() if visible is None else one_of(col(Team.id), visible)
    statement = (
        select(Team)
        .where(within, col(Team.name).ilike(contains(text), escape="\\"), ~one_of(col(Team.id), leave_out))
        .order_by(func.lower(col(Team.name)))
    )
    return list(await session.scalars(statement))


async def existing_teams(session: AsyncSession, team_ids: Collection[int]) -> frozenset[int]:
    """Return which of these teams exist."""
    statement = select(col(Team.id)).where(one_of(col(Team.id), team_ids))
    return frozenset(found for found in await session.scalars(statement) if found is not None)


async def existing_labels(session: AsyncSession, label_ids: Collection[int]) -> frozenset[int]:
    """Return which of these labels exist."""
    statement = select(col(Label.id)).where(one_of(col(Label.id), label_ids))
    return frozenset(found for found in await session.scalars(statement) if found is not None)


async def existing_hosts(session: AsyncSession, host_ids: Collection[int], visible: VisibleTeams) -> frozenset[int]:
    """Return which of these hosts exist and are in sight."""
    statement = select(col(Host.id)).where(one_of(col(Host.id), host_ids), host_scope.visible(visible))
    return frozenset(found for found in await session.scalars(statement) if found is not None)


async def hosts_by_team(session: AsyncSession, team_ids: Collection[int]) -> dict[int, int]:
    """Return team id -> number of its hosts; teams without any are left out."""
    statement = (
        select(col(Host.team_id), func.count()).where(one_of(col(Host.team_id), team_ids)).group_by(col(Host.team_id))
    )
    return {team_id: number for team_id, number in await session.execute(statement) if team_id is not None}


async def users_by_team(session: AsyncSession, team_ids: Collection[int]) -> dict[int, int]:
    """Return team id -> number of its users; teams without any are left out."""
    statement = (
        select(col(UserTeam.team_id), func.count())
        .where(one_of(col(UserTeam.team_id), team_ids))
        .group_by(col(UserTeam.team_id))
    )
    return {row[0]: row[1] for row in await session.execute(statement)}

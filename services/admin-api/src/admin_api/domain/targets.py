"""What people may aim a query at, and how many hosts that is (admin API part 14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from flotilla_common.db.models.admin_api import Label, Team
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import queries
from admin_api.domain.authorize import Action, authorize_any, visible_team_ids
from admin_api.domain.host_objects import host_object
from admin_api.domain.viewer import Viewer
from admin_api.errors import Forbidden
from admin_api.store import host_scope, host_summary, hosts, labels, targets
from admin_api.store.host_scope import VisibleTeams
from admin_api.store.host_summary import HostTotals
from admin_api.store.hosts import HostFilter
from admin_api.store.targets import LIMIT, Selection

NO_TEAM = 0  # in a selection: the hosts without a team
MOST_NAMED = 20  # ids in a warning


async def reach(session: AsyncSession, viewer: Viewer, query_id: int | None) -> VisibleTeams:
    """Return the teams whose hosts the viewer may aim this query at (None: every host).

    Without a query, or with one that observers may not run, teams where the viewer only observes are left out.

    Raises:
        Forbidden: the viewer may not aim at anything.
        Missing: there is no such query.

    """
    authorize_any(viewer, Action.SEARCH_TARGETS)
    if query_id is None:
        return visible_team_ids(viewer, Action.RUN_NEW_QUERY)
    query = await queries.readable(session, viewer, query_id)
    action = Action.RUN_SAVED_QUERY if query.saved else Action.RUN_NEW_QUERY
    return visible_team_ids(viewer, action, observer_can_run=query.saved and query.observer_can_run)


def check_teams(selection: Selection, teams: VisibleTeams) -> None:
    """Refuse teams that are out of the viewer's reach.

    Raises:
        Forbidden: one of them is; those without a team (0) belong to people who reach every host.

    """
    if teams is not None and not selection.teams <= teams:
        raise Forbidden


async def count(session: AsyncSession, selection: Selection, teams: VisibleTeams, now: datetime) -> HostTotals:
    """Total the selected hosts within reach."""
    builtin = await targets.builtin_ids(session, selection.labels)
    return await host_summary.totals(session, [targets.selected(selection, builtin, teams)], now)


async def are_any(session: AsyncSession, selection: Selection, teams: VisibleTeams) -> bool:
    """Whether any selected host is within reach: of many no more than one is looked for."""
    builtin = await targets.builtin_ids(session, selection.labels)
    return await hosts.are_any(session, targets.selected(selection, builtin, teams))


async def unknown(session: AsyncSession, selection: Selection, teams: VisibleTeams) -> list[str]:
    """Return a warning for each kind of which ids are selected that stand for nothing within reach."""
    hosts_left = selection.hosts - await _existing(targets.existing_hosts, session, selection.hosts, teams)
    labels_left = selection.labels - await _existing(targets.existing_labels, session, selection.labels)
    named_teams = selection.teams - {NO_TEAM}
    teams_left = named_teams - await _existing(targets.existing_teams, session, named_teams)
    left = {
        "hosts that are not there, or that you may not ask,": hosts_left,
        "labels that are not there": labels_left,
        "teams that are not there": teams_left,
    }
    return [f"{kind} are passed over: {_some_of(ids)}" for kind, ids in left.items() if ids]


async def _existing(
    find: Callable[..., Awaitable[frozenset[int]]], session: AsyncSession, ids: frozenset[int], *more: VisibleTeams
) -> frozenset[int]:
    return await find(session, ids, *more) if ids else frozenset()


def _some_of(ids: frozenset[int]) -> str:
    named = ", ".join(map(str, sorted(ids)[:MOST_NAMED]))
    return f"{named} and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else named


async def teams_of(session: AsyncSession, selection: Selection, teams: VisibleTeams) -> frozenset[int]:
    """Return the teams that the selected hosts within reach are in."""
    builtin = await targets.builtin_ids(session, selection.labels)
    return await host_summary.teams(session, [targets.selected(selection, builtin, teams)])


async def search(
    session: AsyncSession, text: str, selection: Selection, teams: VisibleTeams, now: datetime
) -> dict[str, list[dict[str, Any]]]:
    """Return hosts, labels and teams that match a text and are not selected yet, as the API shows them."""
    where = [*hosts.conditions(HostFilter(query=text), teams, now), ~host_scope.one_of(host_scope.ID, selection.hosts)]
    found_labels = await targets.labels(session, text, selection.labels)
    members = await labels.counts(session, [label.id for label in found_labels if label.id is not None], teams)
    return {
        "hosts": [host_object(row) for row in await hosts.newest(session, where, LIMIT, now)],
        "labels": [_label(label, members.get(label.id or 0, 0)) for label in found_labels],
        "teams": await _teams(session, text, selection, teams),
    }


async def _teams(session: AsyncSession, text: str, selection: Selection, teams: VisibleTeams) -> list[dict[str, Any]]:
    found = await targets.teams(session, text, selection.teams, teams)
    ids = [team.id for team in found if team.id is not None]
    host_counts, user_counts = await targets.hosts_by_team(session, ids), await targets.users_by_team(session, ids)
    return [_team(team, host_counts.get(team.id or 0, 0), user_counts.get(team.id or 0, 0)) for team in found]


def _label(label: Label, count: int) -> dict[str, Any]:
    return {
        "id": label.id,
        "name": label.name,
        "description": label.description,
        "label_type": label.label_type,
        "host_count": count,
        "display_text": label.name,
        "count": count,
    }


def _team(team: Team, host_count: int, user_count: int) -> dict[str, Any]:
    return {
        "id": team.id,
        "name": team.name,
        "description": team.description,
        "user_count": user_count,
        "host_count": host_count,
        "display_text": team.name,
        "count": host_count,
    }

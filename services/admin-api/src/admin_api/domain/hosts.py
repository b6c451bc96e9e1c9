"""Hosts: who may see, delete, move and refresh which."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from flotilla_common.db.models.admin_api import Team
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import activities
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any, visible_team_ids
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest, Forbidden, Missing
from admin_api.store import hosts, targets
from admin_api.store.hosts import HostFilter, HostRow

IDS_AT_ONCE = 5_000  # hosts that one request to inventory changes: small enough for its time limit


async def conditions(
    session: AsyncSession, viewer: Viewer, wanted: HostFilter, now: datetime, *, action: Action = Action.READ_HOSTS
) -> list[ColumnElement[bool]]:
    """Return the conditions of a list of hosts; the viewer's own teams are always among them.

    Raises:
        Forbidden: the viewer may see no hosts, or not those of the team that was asked for.
        BadRequest: there is no such team.

    """
    authorize_any(viewer, action)
    visible = visible_team_ids(viewer, action)
    if wanted.team_id is not None:
        if visible is not None and wanted.team_id not in visible:
            raise Forbidden
        if wanted.team_id != 0 and not await targets.existing_teams(session, [wanted.team_id]):
            raise BadRequest(f"team {wanted.team_id} does not exist")
    return hosts.conditions(wanted, visible, now)


async def found_by(
    session: AsyncSession, viewer: Viewer, wanted: HostFilter, now: datetime, *, action: Action = Action.READ_HOSTS
) -> list[int]:
    """Return the ids of the hosts that match a filter and that the viewer may do this to, ascending.

    Raises:
        Forbidden, BadRequest: as `conditions`.

    """
    return await hosts.ids(session, await conditions(session, viewer, wanted, now, action=action))


async def readable(session: AsyncSession, viewer: Viewer, host_id: int, now: datetime) -> HostRow:
    """Return a host that the viewer may read.

    Raises:
        Forbidden: the viewer may read no host, or not this one.
        Missing: there is no such host.

    """
    return await _one(session, viewer, Action.READ_HOSTS, host_id, now)


async def deletable(session: AsyncSession, viewer: Viewer, host_id: int, now: datetime) -> HostRow:
    """Like `readable`, for those who want to delete it."""
    return await _one(session, viewer, Action.DELETE_HOSTS, host_id, now)


async def labelable(session: AsyncSession, viewer: Viewer, host_id: int, now: datetime) -> HostRow:
    """Like `readable`, for those who want to put it into labels or take it out."""
    return await _one(session, viewer, Action.LABEL_HOSTS, host_id, now)


async def _one(session: AsyncSession, viewer: Viewer, action: Action, host_id: int, now: datetime) -> HostRow:
    authorize_any(viewer, action)
    row = await hosts.by_id(session, host_id, now)
    if row is None:
        raise Missing("Host", host_id)
    authorize(viewer, action, Subject(row.host.team_id))
    return row


async def readable_by_identifier(session: AsyncSession, viewer: Viewer, identifier: str, now: datetime) -> HostRow:
    """Like `readable`, by host name, osquery identifier, node key, uuid or serial."""
    authorize_any(viewer, Action.READ_HOST_BY_IDENTIFIER)
    row = await hosts.by_identifier(session, identifier, now)
    if row is None:
        raise Missing("Host", identifier)
    authorize(viewer, Action.READ_HOST_BY_IDENTIFIER, Subject(row.host.team_id))
    return row


async def all_deletable(
    session: AsyncSession, viewer: Viewer, host_ids: Collection[int], now: datetime
) -> list[HostRow]:
    """Return those of these hosts that exist.

    Raises:
        Forbidden: one of them may not be deleted by the viewer.

    """
    authorize_any(viewer, Action.DELETE_HOSTS)
    return _each_in(await hosts.by_ids(session, host_ids, now), visible_team_ids(viewer, Action.DELETE_HOSTS))


async def transferable(
    session: AsyncSession, viewer: Viewer, host_ids: Collection[int], team_id: int | None, now: datetime
) -> tuple[list[HostRow], Team | None]:
    """Return those of these hosts that exist, and the team they are to join.

    Raises:
        Forbidden: the viewer may not put hosts into that team, or not take one of these hosts from where it is.
        Missing: there is no such team.

    """
    team = await destination(session, viewer, team_id)
    rows = await hosts.by_ids(session, host_ids, now)
    return _each_in(rows, visible_team_ids(viewer, Action.TRANSFER_HOSTS)), team


async def destination(session: AsyncSession, viewer: Viewer, team_id: int | None) -> Team | None:
    """Return the team that hosts are to join; None stands for no team.

    Raises:
        Forbidden: the viewer may not put hosts there.
        Missing: there is no such team.

    """
    authorize_any(viewer, Action.TRANSFER_HOSTS)
    authorize(viewer, Action.TRANSFER_HOSTS, Subject(team_id))
    if team_id is None:
        return None
    team: Team | None = await session.get(Team, team_id)
    if team is None:
        raise Missing("Team", team_id)
    return team


def _each_in(rows: list[HostRow], teams: frozenset[int] | None) -> list[HostRow]:
    if teams is not None and any(row.host.team_id not in teams for row in rows):
        raise Forbidden
    return rows


def portions(rows: list[HostRow]) -> list[list[HostRow]]:
    """Cut hosts into what one request to inventory may carry."""
    return [rows[start : start + IDS_AT_ONCE] for start in range(0, len(rows), IDS_AT_ONCE)]


async def record_transfer(session: AsyncSession, viewer: Viewer, rows: Sequence[HostRow], team: Team | None) -> None:
    """Write the activity of a transfer."""
    details: dict[str, Any] = {
        "team_id": None if team is None else team.id,
        "team_name": None if team is None else team.name,
        "host_ids": [row.host_id for row in rows],
        "host_display_names": [row.display_name for row in rows],
    }
    await activities.record(session, viewer, "transferred_hosts", details)


async def record_deletion(session: AsyncSession, viewer: Viewer, rows: Sequence[HostRow]) -> None:
    """Write one activity for each deleted host."""
    for row in rows:
        details = {
            "host_id": row.host_id,
            "host_serial": row.host.hardware_serial,
            "host_display_name": row.display_name,
        }
        await activities.record(session, viewer, "deleted_host", details)

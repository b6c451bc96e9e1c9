"""Hosts deleted, moved, refreshed, put into labels. inventory owns them: every change is a request to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from flotilla_common.contracts.base import Request
from flotilla_common.contracts.hosts import (
    ChangeLabelMembersV1,
    DeleteHostsV1,
    HostsAffectedV1,
    RefetchHostV1,
    TransferHostsV1,
)
from flotilla_common.db.models.admin_api import Team
from flotilla_common.errors import Unanswered
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import Deps, DepsDep
from admin_api.domain import hosts, labels_members
from admin_api.domain.authorize import Action
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.host_parameters import Number, filter_of
from admin_api.routes.versions import Id, members_router
from admin_api.store.hosts import HostRow

router = members_router("hosts")

Nothing = dict[str, Any]
"""The answer `{}`."""


@router.delete("/hosts/{host_id:int}")
async def delete_host(deps: DepsDep, viewer: ViewerDep, host_id: Id) -> Nothing:
    """Delete a host; if it is still alive it enrolls again as a new one."""
    async with deps.sessions.begin() as session:
        row = await hosts.deletable(session, viewer, host_id, deps.clock())
    await _delete(deps, viewer, [row])
    return {}


class DeleteBody(ApiBody):
    """Either ids, or filters; empty filters mean all hosts that the viewer may see."""

    ids: list[Number] | None = None
    filters: dict[str, Any] | None = None


@router.post("/hosts/delete")
async def delete_hosts(deps: DepsDep, viewer: ViewerDep, body: DeleteBody) -> Nothing:
    """Delete many hosts."""
    if not body.ids and body.filters is None:
        raise BadRequest("list of ids or filters must be specified")
    if body.ids and body.filters is not None:
        raise BadRequest("Cannot specify a list of ids and filters at the same time")
    now = deps.clock()
    async with deps.sessions.begin() as session:
        host_ids = body.ids or await hosts.found_by(session, viewer, filter_of(body.filters or {}), now)
        rows = await hosts.all_deletable(session, viewer, host_ids, now)
    await _delete(deps, viewer, rows)
    return {}


async def _delete(deps: Deps, viewer: Viewer, rows: list[HostRow]) -> None:
    for portion in hosts.portions(rows):
        request = DeleteHostsV1(host_ids=tuple(row.host_id for row in portion))
        await _ask(deps, request, partial(hosts.record_deletion, viewer=viewer, rows=portion))


async def _ask(
    deps: Deps, request: Request[HostsAffectedV1], record: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    """Ask inventory and remember it. What inventory refuses is forgotten; what it may have done is not.

    Raises:
        Unanswered: it may have done it; the activity stays.
        FleetError: inventory refused, or is not there.

    """
    silence: Unanswered | None = None
    async with deps.sessions.begin() as session:
        await record(session)
        await session.flush()
        try:
            await deps.bus.request(request)
        except Unanswered as error:
            silence = error
    if silence is not None:
        raise silence


class TransferBody(ApiBody):
    """Hosts by id; `team_id` null means no team."""

    team_id: Number | None = None
    hosts: list[Number] = []


@router.post("/hosts/transfer")
async def transfer_hosts(deps: DepsDep, viewer: ViewerDep, body: TransferBody) -> Nothing:
    """Move hosts to another team."""
    async with deps.sessions.begin() as session:
        rows, team = await hosts.transferable(session, viewer, body.hosts, body.team_id, deps.clock())
    await _transfer(deps, viewer, rows, team)
    return {}


class TransferByFilterBody(ApiBody):
    """Hosts by filters; `team_id` null means no team."""

    team_id: Number | None = None
    filters: dict[str, Any] | None = None


@router.post("/hosts/transfer/filter")
async def transfer_hosts_by_filter(deps: DepsDep, viewer: ViewerDep, body: TransferByFilterBody) -> Nothing:
    """Move all hosts that match filters, as far as the viewer may move them, to another team."""
    if body.filters is None:
        raise BadRequest("filters must be specified")
    wanted, now = filter_of(body.filters), deps.clock()
    async with deps.sessions.begin() as session:
        host_ids = await hosts.found_by(session, viewer, wanted, now, action=Action.TRANSFER_HOSTS)
        rows, team = await hosts.transferable(session, viewer, host_ids, body.team_id, now)
    await _transfer(deps, viewer, rows, team)
    return {}


async def _transfer(deps: Deps, viewer: Viewer, rows: list[HostRow], team: Team | None) -> None:
    team_id = None if team is None else team.id
    for portion in hosts.portions(rows):
        request = TransferHostsV1(host_ids=tuple(row.host_id for row in portion), team_id=team_id)
        await _ask(deps, request, partial(hosts.record_transfer, viewer=viewer, rows=portion, team=team))


@router.post("/hosts/{host_id:int}/refetch")
async def refetch_host(deps: DepsDep, viewer: ViewerDep, host_id: Id) -> Nothing:
    """Ask for the host's details again at its next poll."""
    async with deps.sessions.begin() as session:
        row = await hosts.readable(session, viewer, host_id, deps.clock())
    await deps.bus.request(RefetchHostV1(host_id=row.host_id))
    return {}


class HostLabelsBody(ApiBody):
    """Names of manual labels."""

    labels: list[str] = []


@router.post("/hosts/{host_id:int}/labels")
async def add_host_labels(deps: DepsDep, viewer: ViewerDep, host_id: Id, body: HostLabelsBody) -> Nothing:
    """Put a host into manual labels."""
    for label_id in await _manual_labels(deps, viewer, host_id, body, "add"):
        await deps.bus.request(ChangeLabelMembersV1(label_id=label_id, add=(host_id,)))
    return {}


@router.delete("/hosts/{host_id:int}/labels")
async def remove_host_labels(deps: DepsDep, viewer: ViewerDep, host_id: Id, body: HostLabelsBody) -> Nothing:
    """Take a host out of manual labels."""
    for label_id in await _manual_labels(deps, viewer, host_id, body, "remove"):
        await deps.bus.request(ChangeLabelMembersV1(label_id=label_id, remove=(host_id,)))
    return {}


async def _manual_labels(deps: Deps, viewer: Viewer, host_id: int, body: HostLabelsBody, verb: str) -> list[int]:
    async with deps.sessions.begin() as session:
        await hosts.labelable(session, viewer, host_id, deps.clock())
        return await labels_members.manual_ids(session, body.labels, verb)

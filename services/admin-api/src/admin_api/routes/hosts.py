"""Hosts: lists, single ones, totals (admin API part 9)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import DepsDep
from admin_api.domain import hosts, targets
from admin_api.domain.authorize import Action, authorize_any
from admin_api.domain.host_filters import HostView
from admin_api.domain.host_objects import host_detail, host_object
from admin_api.domain.label_objects import label_object, label_summary
from admin_api.errors import BadRequest
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.host_parameters import FilterDep, FilterWithLabelDep, Number, ViewDep, without_search
from admin_api.routes.list_options import ListOptionsDep
from admin_api.routes.versions import Flag, Id, members_router
from admin_api.store import host_scope, host_summary, labels
from admin_api.store import hosts as host_store
from admin_api.store.hosts import HostFilter, HostRow

router = members_router("hosts")

SEARCH_LIMIT = 10
PLATFORMS = ("darwin", "windows", "linux", "chrome", "ios", "ipados", "android")


async def shown(session: AsyncSession, rows: list[HostRow], view: HostView) -> list[dict[str, Any]]:
    """Return hosts as lists show them, with what was asked for beside them."""
    member_of = await host_store.labels_by_host(session, [row.host_id for row in rows]) if view.labels else {}
    added: dict[str, Any] = {
        **({"software": []} if view.software else {}),
        **({"policies": []} if view.policies else {}),
        **({"users": []} if view.users else {}),
        **({"device_mapping": []} if view.device_mapping else {}),
        **({"additional": {}} if view.additional else {}),
    }
    return [
        {
            **host_object(row),
            **added,
            **({"labels": [label_object(label) for label in member_of[row.host_id]]} if view.labels else {}),
        }
        for row in rows
    ]


@router.get("/hosts")
async def list_hosts(
    deps: DepsDep, viewer: ViewerDep, options: ListOptionsDep, wanted: FilterDep, view: ViewDep
) -> dict[str, Any]:
    """List the hosts that the viewer may see."""
    now = deps.clock()
    async with deps.sessions.begin() as session:
        where = await hosts.conditions(session, viewer, wanted, now)
        rows = await host_store.page(session, where, without_search(options), now)
        return {"hosts": await shown(session, rows, view)}


@router.get("/hosts/count")
async def count_hosts(deps: DepsDep, viewer: ViewerDep, wanted: FilterWithLabelDep) -> dict[str, int]:
    """Count the hosts that the list would have on all pages."""
    async with deps.sessions.begin() as session:
        where = await hosts.conditions(session, viewer, wanted, deps.clock(), action=Action.COUNT_HOSTS)
        return {"count": await host_store.count(session, where)}


@router.get("/hosts/{host_id:int}")
async def get_host(deps: DepsDep, viewer: ViewerDep, host_id: Id, exclude_software: Flag = False) -> dict[str, Any]:
    """Show one host with its labels."""
    async with deps.sessions.begin() as session:
        row = await hosts.readable(session, viewer, host_id, deps.clock())
        return await _detail(session, row, exclude_software=exclude_software)


@router.get("/hosts/identifier/{identifier}")
async def get_host_by_identifier(
    deps: DepsDep, viewer: ViewerDep, identifier: str, exclude_software: Flag = False
) -> dict[str, Any]:
    """Show the host with this host name, osquery identifier, node key, uuid or hardware serial."""
    async with deps.sessions.begin() as session:
        row = await hosts.readable_by_identifier(session, viewer, identifier, deps.clock())
        return await _detail(session, row, exclude_software=exclude_software)


async def _detail(session: AsyncSession, row: HostRow, *, exclude_software: bool) -> dict[str, Any]:
    member_of = await host_store.labels_by_host(session, [row.host_id])
    return {"host": host_detail(row, member_of[row.host_id], exclude_software=exclude_software)}


class SearchBody(ApiBody):
    """What to look for, and which hosts not to offer again."""

    query: str = ""
    query_id: Number | None = None
    excluded_host_ids: list[Number] = []


@router.post("/hosts/search")
async def search_hosts(deps: DepsDep, viewer: ViewerDep, body: SearchBody) -> dict[str, Any]:
    """Offer at most ten hosts that the query (or a new one) could be aimed at, the newest first."""
    authorize_any(viewer, Action.READ_HOSTS)
    now = deps.clock()
    async with deps.sessions.begin() as session:
        teams = await targets.reach(session, viewer, body.query_id or None)
        where = host_store.conditions(HostFilter(query=body.query.strip()), teams, now)
        where.append(~host_scope.one_of(host_scope.ID, body.excluded_host_ids))
        rows = await host_store.newest(session, where, SEARCH_LIMIT, now)
    return {"hosts": [host_object(row) for row in rows]}


@router.get("/host_summary")
async def summarize(
    deps: DepsDep,
    viewer: ViewerDep,
    wanted: FilterDep,
    platform: Annotated[str, Query()] = "",
    low_disk_space: str = "",
) -> dict[str, Any]:
    """Total the hosts by state and platform."""
    if platform and platform not in PLATFORMS:
        raise BadRequest(f"Invalid platform: {platform}")
    now = deps.clock()
    only = HostFilter(team_id=wanted.team_id)
    async with deps.sessions.begin() as session:
        where = await hosts.conditions(session, viewer, only, now, action=Action.COUNT_HOSTS)
        where += [host_summary.of_platform(platform)] if platform else []
        totals = await host_summary.totals(session, where, now)
        by_platform = await host_summary.platforms(session, where)
        builtin = [label for label in await labels.every(session) if label.label_type == "builtin"]
    return {
        **({} if wanted.team_id is None else {"team_id": wanted.team_id}),
        "totals_hosts_count": totals.total,
        "online_count": totals.online,
        "offline_count": totals.offline,
        "mia_count": totals.missing,
        "missing_30_days_count": totals.missing,
        "new_count": totals.new,
        "all_linux_count": sum(number for name, number in by_platform if name in host_summary.LINUX),
        **({"low_disk_space_count": 0} if low_disk_space else {}),
        "builtin_labels": [label_summary(label) for label in builtin],
        "platforms": [{"platform": name, "hosts_count": number} for name, number in by_platform],
    }

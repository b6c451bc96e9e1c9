"""What is amiss with the logs of single hosts: /logs/host_losses, /logs/gaps (additions to Fleet's API).

People see the hosts that they may read, as in the list of hosts.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query

from admin_api.deps import DepsDep
from admin_api.domain import hosts
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.host_parameters import FilterDep, without_search
from admin_api.routes.list_options import ListOptionsDep, meta_of, paged
from admin_api.routes.versions import members_router
from admin_api.store import log_hosts

router = members_router("logs")

USUAL = 100
LONGEST = 1000
MOST_HOURS = 24 * 366


@router.get("/logs/host_losses")
async def list_losses(deps: DepsDep, viewer: ViewerDep, options: ListOptionsDep, wanted: FilterDep) -> dict[str, Any]:
    """List the hosts that say they threw log lines away: `lines` is a lower bound, `warnings` how often they said so.

    Ordered by `host_id`, or by `lines`, `warnings`, `first_at`, `last_at`; the filters of the list of hosts hold.
    """
    page = paged(without_search(options), USUAL, LONGEST)
    async with deps.sessions.begin() as session:
        where = await hosts.conditions(session, viewer, wanted, deps.clock())
        found, more = await log_hosts.losses(session, where, page)
    return {"host_losses": [asdict(one) for one in found], "meta": meta_of(page, more=more)}


@router.get("/logs/gaps")
async def list_gaps(
    deps: DepsDep,
    viewer: ViewerDep,
    options: ListOptionsDep,
    wanted: FilterDep,
    hours: Annotated[float, Query(gt=0, le=MOST_HOURS, description="for how long no line came")] = 24.0,
) -> dict[str, Any]:
    """List the hosts that are online and of which no log line came for so long.

    `logged_at` is when lines of it last came into custody, null when none ever did. Ordered by `host_id`, or by
    `logged_at`, `seen_at`, `enrolled_at`; the filters of the list of hosts hold.
    """
    page = paged(without_search(options), USUAL, LONGEST)
    async with deps.sessions.begin() as session:
        where = await hosts.conditions(session, viewer, wanted, deps.clock())
        found, more = await log_hosts.gaps(session, where, page, deps.clock(), timedelta(hours=hours))
    return {"gaps": [asdict(one) for one in found], "meta": meta_of(page, more=more)}

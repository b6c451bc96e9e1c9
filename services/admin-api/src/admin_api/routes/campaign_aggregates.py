"""What the answers of a campaign add up to: which value is on how many hosts."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Query
from pyroaring import BitMap64
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import Deps, DepsDep
from admin_api.domain import campaigns
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.campaign_aggregate import Aggregate, Bounds, Grouping
from admin_api.domain.campaign_aggregates import Asker, Tally, groupings_of
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.versions import Id, members_router
from admin_api.store import host_scope, hosts
from admin_api.store.campaign_results import NEWEST
from admin_api.store.campaign_rows import RowsEntry
from admin_api.store.host_scope import VisibleTeams

router = members_router("live queries")

TOP = 20  # groups, where nobody says
MOST_TOP = 200


@router.get("/campaigns/{campaign_id:int}/aggregate")
async def get_aggregate(
    deps: DepsDep,
    viewer: ViewerDep,
    campaign_id: Id,
    group_by: Annotated[
        list[str] | None, Query(description="columns, comma separated; may be given several times")
    ] = None,
    top: Annotated[int, Query(ge=1, le=MOST_TOP)] = TOP,
) -> dict[str, Any]:
    """Count hosts and rows by value, of the answers so far of the hosts that the viewer may see."""
    teams = visible_team_ids(viewer)
    async with deps.sessions.begin() as session:
        await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
        groupings = groupings_of(group_by or [])
        asker = Asker(viewer.user_id, since=time.monotonic(), sight=await sight_of(session, teams))
    return {"aggregate": await aggregate_now(deps, campaign_id, groupings, teams, asker, top=top)}


async def sight_of(session: AsyncSession, teams: VisibleTeams) -> BitMap64 | None:
    """Return the hosts that somebody who sees these teams may see; None: all, deleted ones too."""
    return None if teams is None else BitMap64(await hosts.ids(session, [host_scope.visible(teams)]))


async def aggregate_now(
    deps: Deps,
    campaign_id: int,
    groupings: tuple[Grouping, ...],
    teams: VisibleTeams,
    asker: Asker,
    *,
    top: int,
) -> dict[str, Any]:
    """Return the answers up to now added up, as the API shows them.

    Raises:
        Unavailable: Redis does not answer, or too many others are in use.

    """

    async def read(position: str) -> list[RowsEntry]:
        return await deps.results.before(campaign_id, position, NEWEST)

    return tally_object(await deps.aggregates.current((campaign_id, groupings, teams), asker, read), top)


def tally_object(tally: Tally, top: int) -> dict[str, Any]:
    """Return the answers added up as the API shows them."""
    return {
        "hosts": tally.hosts,
        "rows": tally.rows,
        "position": tally.position,
        "behind": tally.is_behind,
        "groupings": [_grouping_object(aggregate, top) for aggregate in tally.aggregates],
    }


def _grouping_object(aggregate: Aggregate, top: int) -> dict[str, Any]:
    return {
        "group_by": list(aggregate.grouping),
        "exact": aggregate.is_exact,
        "distinct": _bounds_object(aggregate.distinct()),
        "top": [
            {
                "values": dict(zip(aggregate.grouping, group.values, strict=True)),
                "hosts": _bounds_object(group.hosts),
                "rows": _bounds_object(group.rows),
            }
            for group in aggregate.top(top)
        ],
    }


def _bounds_object(bounds: Bounds) -> dict[str, int]:
    return {"count": bounds.estimate, "at_least": bounds.at_least, "at_most": bounds.at_most}

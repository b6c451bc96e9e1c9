"""What the answers of a campaign add up to: which value is on how many hosts."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Query

from admin_api.deps import Deps, DepsDep
from admin_api.domain import campaigns
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.campaign_aggregate import Aggregate, Group, Grouping
from admin_api.domain.campaign_aggregates import Asker, Key, Tally, column_of, groupings_of
from admin_api.domain.campaign_distinct import Bounds
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.versions import Id, members_router
from admin_api.store import campaign_segments
from admin_api.store.campaign_hosts import sight_of
from admin_api.store.campaign_results import NEWEST
from admin_api.store.campaign_rows import RowsEntry

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
    column: Annotated[str | None, Query(description="count the values of this column within each group")] = None,
    top: Annotated[int, Query(ge=1, le=MOST_TOP)] = TOP,
) -> dict[str, Any]:
    """Count hosts and rows by value, of the answers so far of the hosts that the viewer may see."""
    teams = visible_team_ids(viewer)
    async with deps.sessions.begin() as session:
        await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
        groupings, within = groupings_of(group_by or []), column_of(column)
        asker = Asker(viewer.user_id, since=time.monotonic(), sight=await sight_of(session, teams))
    return {"aggregate": await aggregate_now(deps, (campaign_id, groupings, teams, within), asker, top=top)}


async def aggregate_now(deps: Deps, key: Key, asker: Asker, *, top: int) -> dict[str, Any]:
    """Return the answers up to now added up, as the API shows them.

    Raises:
        Unavailable: Redis does not answer, or too many others are in use.

    """

    async def read(position: str) -> list[RowsEntry]:
        return await deps.results.before(key[0], position, NEWEST)

    async def are_removed() -> bool:
        async with deps.sessions.begin() as session:
            return (await campaign_segments.state(session, key[0])).removed_at is not None

    return tally_object(await deps.aggregates.current(key, asker, read, are_removed), top)


def tally_object(tally: Tally, top: int) -> dict[str, Any]:
    """Return the answers added up as the API shows them."""
    return {
        "hosts": tally.hosts,
        "rows": tally.rows,
        "missing": tally.missing,
        "position": tally.position,
        "behind": tally.is_behind,
        "groupings": [_grouping_object(aggregate, top) for aggregate in tally.aggregates],
    }


def _grouping_object(aggregate: Aggregate, top: int) -> dict[str, Any]:
    return {
        "group_by": list(aggregate.grouping),
        **({} if aggregate.column is None else {"column": aggregate.column}),
        "exact": aggregate.is_exact,
        "distinct": _bounds_object(aggregate.distinct()),
        "top": [_group_object(aggregate.grouping, group) for group in aggregate.top(top)],
    }


def _group_object(grouping: Grouping, group: Group) -> dict[str, Any]:
    return {
        "values": dict(zip(grouping, group.values, strict=True)),
        "hosts": _bounds_object(group.hosts),
        "rows": _bounds_object(group.rows),
        **({} if group.distinct is None else {"distinct": _bounds_object(group.distinct)}),
    }


def _bounds_object(bounds: Bounds) -> dict[str, int]:
    return {"count": bounds.estimate, "at_least": bounds.at_least, "at_most": bounds.at_most}

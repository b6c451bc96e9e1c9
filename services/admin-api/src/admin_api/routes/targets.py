"""Targets: what a query could be aimed at (admin API part 14)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from admin_api.deps import DepsDep
from admin_api.domain import targets
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.host_parameters import Number
from admin_api.routes.versions import members_router
from admin_api.store.targets import Selection

router = members_router("targets")


class SelectedBody(ApiBody):
    """Hosts, labels and teams by id."""

    hosts: list[Number] = Field(default_factory=list)
    labels: list[Number] = Field(default_factory=list)
    teams: list[Number] = Field(default_factory=list)

    def selection(self) -> Selection:
        """Return what the domain knows."""
        return Selection(frozenset(self.hosts), frozenset(self.labels), frozenset(self.teams))


class SearchBody(ApiBody):
    """A text to look for, beside what is selected already."""

    query: str = ""
    query_id: Number | None = None
    selected: SelectedBody = Field(default_factory=SelectedBody)


@router.post("/targets")
async def search_targets(deps: DepsDep, viewer: ViewerDep, body: SearchBody) -> dict[str, Any]:
    """Offer hosts, labels and teams; the counters are about what is selected."""
    now, selection = deps.clock(), body.selected.selection()
    async with deps.sessions.begin() as session:
        teams = await targets.reach(session, viewer, body.query_id or None)
        found = await targets.search(session, body.query.strip(), selection, teams, now)
        totals = await targets.count(session, selection, teams, now)
    return {
        "targets": found,
        "targets_count": totals.total,
        "targets_online": totals.online,
        "targets_offline": totals.offline,
        "targets_missing_in_action": totals.missing,
    }


class CountBody(ApiBody):
    """What is selected."""

    query_id: Number | None = None
    selected: SelectedBody = Field(default_factory=SelectedBody)


@router.post("/targets/count")
async def count_targets(deps: DepsDep, viewer: ViewerDep, body: CountBody) -> dict[str, int]:
    """Count what is selected."""
    async with deps.sessions.begin() as session:
        teams = await targets.reach(session, viewer, body.query_id or None)
        totals = await targets.count(session, body.selected.selection(), teams, deps.clock())
    return {
        "targets_count": totals.total,
        "targets_online": totals.online,
        "targets_offline": totals.offline,
    }

"""definitions.team_changed.v1: the hosts of a deleted team belong to no team."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import TeamChangedV1

from inventory.deps import Deps
from inventory.domain import scoping
from inventory.domain.transfers import leave_lost_teams

BATCH = 2000  # hosts in one transaction: a large team must not hold its rows for seconds


async def handle(event: TeamChangedV1, deps: Deps) -> None:
    """Idempotent: moves whoever is in a team that does not exist, so a second run finds nobody.

    Several transactions, each of which leaves a state that the next run goes on from.
    """
    if not event.deleted:
        return
    await empty_lost_teams(deps)
    async with deps.sessions.begin() as session:
        await scoping.recompute(session)


async def empty_lost_teams(deps: Deps) -> int:
    """Move all hosts of teams that do not exist to no team; return how many."""
    total = 0
    while True:
        async with deps.sessions.begin() as session:
            moved = await leave_lost_teams(session, BATCH, now=deps.clock())
        total += moved
        if moved < BATCH:
            return total


SUBSCRIPTION = event_subscription(TeamChangedV1, "inventory-on_team_changed", handle)

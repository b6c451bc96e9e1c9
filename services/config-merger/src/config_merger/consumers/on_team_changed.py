"""definitions.team_changed.v1: a team changed, or is gone with its classes."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import TeamChangedV1

from config_merger.consumers.touched import recompile_team
from config_merger.deps import Deps
from config_merger.store import plan_heads, plans


async def handle(event: TeamChangedV1, deps: Deps) -> None:
    """Idempotent: a deleted team's id is never given again; a second run finds no class of it.

    A head that a crash leaves in the bucket is garbage that housekeeping removes.
    """
    if not event.deleted:
        await recompile_team(deps, event.team_id)
        return
    async with deps.sessions.begin() as session:
        await plans.hold_alone(session)
        removed = await plans.remove_team(session, event.team_id)
    for class_key in removed:
        await plan_heads.remove(deps.bucket, class_key)


SUBSCRIPTION = event_subscription(TeamChangedV1, "config-merger-on_team_changed", handle)

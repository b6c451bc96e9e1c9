"""definitions.query_changed.v1: a scheduled query came, changed or went."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import QueryChangedV1

from config_merger.consumers.touched import recompile_team
from config_merger.deps import Deps


async def handle(event: QueryChangedV1, deps: Deps) -> None:
    """Idempotent, see `touched`."""
    await recompile_team(deps, event.team_id)


SUBSCRIPTION = event_subscription(QueryChangedV1, "config-merger-on_query_changed", handle)

"""definitions.agent_options_changed.v1: a layer, or the way layers are merged, changed."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import AgentOptionsChangedV1

from config_merger.consumers.touched import recompile_team
from config_merger.deps import Deps


async def handle(event: AgentOptionsChangedV1, deps: Deps) -> None:
    """Idempotent, see `touched`."""
    await recompile_team(deps, event.team_id)


SUBSCRIPTION = event_subscription(AgentOptionsChangedV1, "config-merger-on_agent_options_changed", handle)

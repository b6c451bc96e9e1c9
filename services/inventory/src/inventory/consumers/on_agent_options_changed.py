"""definitions.agent_options_changed.v1: an extension may have been scoped by a label, or not be any more."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import AgentOptionsChangedV1

from inventory.deps import Deps
from inventory.domain import scoping


async def handle(_event: AgentOptionsChangedV1, deps: Deps) -> None:
    """Idempotent: the scope depends on stored definitions alone, so a second run changes nothing."""
    async with deps.sessions.begin() as session:
        await scoping.recompute(session)


SUBSCRIPTION = event_subscription(AgentOptionsChangedV1, "inventory-on_agent_options_changed", handle)

"""definitions.query_changed.v1: a query may have been scoped by a label, or not be any more."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import QueryChangedV1

from inventory.deps import Deps
from inventory.domain import scoping


async def handle(_event: QueryChangedV1, deps: Deps) -> None:
    """Idempotent: the scope depends on stored definitions alone, so a second run changes nothing."""
    async with deps.sessions.begin() as session:
        await scoping.recompute(session)


SUBSCRIPTION = event_subscription(QueryChangedV1, "inventory-on_query_changed", handle)

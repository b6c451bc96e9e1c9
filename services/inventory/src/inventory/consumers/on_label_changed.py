"""definitions.label_changed.v1: a deleted label has no members and scopes nothing."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import LabelChangedV1

from inventory.deps import Deps
from inventory.domain import scoping
from inventory.store import label_membership


async def handle(event: LabelChangedV1, deps: Deps) -> None:
    """Idempotent: ids are never given twice, so a second run finds no members and the scope as it must be.

    A deleted label leaves the scope, which makes every host's record outdated: no event per member is needed.
    """
    async with deps.sessions.begin() as session:
        await scoping.recompute(session)
        if event.deleted:
            await label_membership.remove_label(session, event.label_id)


SUBSCRIPTION = event_subscription(LabelChangedV1, "inventory-on_label_changed", handle)

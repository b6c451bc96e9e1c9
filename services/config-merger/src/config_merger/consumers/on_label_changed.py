"""definitions.label_changed.v1: queries that a deleted label scoped have another scope now."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import LabelChangedV1

from config_merger.consumers.touched import recompile_team
from config_merger.deps import Deps


async def handle(event: LabelChangedV1, deps: Deps) -> None:
    """Idempotent, see `touched`. Who is in a label is no matter of plans: a host changes its class instead."""
    if event.deleted:
        await recompile_team(deps, None)


SUBSCRIPTION = event_subscription(LabelChangedV1, "config-merger-on_label_changed", handle)

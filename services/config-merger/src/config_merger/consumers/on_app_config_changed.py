"""definitions.app_config_changed.v1: query reports may have been switched, which decides what is scheduled."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import AppConfigChangedV1

from config_merger.consumers.touched import recompile_team
from config_merger.deps import Deps


async def handle(_event: AppConfigChangedV1, deps: Deps) -> None:
    """Idempotent, see `touched`."""
    await recompile_team(deps, None)


SUBSCRIPTION = event_subscription(AppConfigChangedV1, "config-merger-on_app_config_changed", handle)

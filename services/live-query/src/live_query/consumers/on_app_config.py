"""definitions.app_config_changed.v1: an administrator may have turned live queries off, or on again."""

from __future__ import annotations

import structlog
from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.campaigns import SWITCH_KEY
from flotilla_common.contracts.definitions import AppConfigChangedV1

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.signing import sign_switch, switch_in
from live_query.store import switch

log = structlog.get_logger()


async def keep_switch(deps: Deps) -> None:
    """Tell gateways whether hosts may be asked, unless the bucket says so already. Idempotent."""
    async with deps.sessions.begin() as session:
        wanted = await switch.read(session)
        value = await deps.bucket.get(SWITCH_KEY)
        if value is None:
            says_so = not wanted.halted
        else:
            held = switch_in(value, deps.signing_key.public_key())
            says_so = held is not None and held.halted == wanted.halted
        if not says_so:
            await deps.bucket.put(SWITCH_KEY, sign_switch(wanted, deps.signing_key))
            log.warning("all campaigns are halted" if wanted.halted else "campaigns go on")
    metrics.HALTED.set(wanted.halted)


async def handle(event: AppConfigChangedV1, deps: Deps) -> None:
    """The event says that something changed; what, is in the table."""
    del event
    await keep_switch(deps)


SUBSCRIPTION = event_subscription(AppConfigChangedV1, "live-query-on_app_config", handle)

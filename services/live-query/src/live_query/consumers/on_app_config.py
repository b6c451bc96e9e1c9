"""definitions.app_config_changed.v1: an administrator may have turned live queries off, or on again."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.campaigns import SWITCH_KEY, Switch
from flotilla_common.contracts.definitions import AppConfigChangedV1
from sqlalchemy.ext.asyncio import AsyncSession

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.signing import sign_switch, switch_in
from live_query.store import ramps, switch

log = structlog.get_logger()


async def keep_switch(deps: Deps) -> None:
    """Tell gateways whether hosts may be asked, unless the bucket says so already. Idempotent."""
    async with deps.sessions.begin() as session:
        wanted = await switch.read(session)
        value, held = await _word(deps)
        says_so = not wanted.halted if value is None else held is not None and held.halted == wanted.halted
        if not says_so:
            if held is not None and held.halted:
                await ramps.wait_again(session, datetime.fromtimestamp(held.at, UTC), deps.clock())
            await deps.bucket.put(SWITCH_KEY, sign_switch(wanted, deps.signing_key))
            log.warning("all campaigns are halted" if wanted.halted else "campaigns go on")
    metrics.HALTED.set(wanted.halted)


async def is_halted(session: AsyncSession, deps: Deps) -> bool:
    """Whether hosts may not be asked, or gateways still believe so. Until the transaction ends nobody tells them else.

    Whoever hears that they may finds the released hosts of ramps waited for anew.
    """
    if (await switch.read(session)).halted:
        return True
    _, held = await _word(deps)
    return held is not None and held.halted


async def _word(deps: Deps) -> tuple[bytes | None, Switch | None]:
    """Return what the bucket has, and what of it is our own word."""
    value = await deps.bucket.get(SWITCH_KEY)
    return value, None if value is None else switch_in(value, deps.signing_key.public_key())


async def handle(event: AppConfigChangedV1, deps: Deps) -> None:
    """The event says that something changed; what, is in the table."""
    del event
    await keep_switch(deps)


SUBSCRIPTION = event_subscription(AppConfigChangedV1, "live-query-on_app_config", handle)

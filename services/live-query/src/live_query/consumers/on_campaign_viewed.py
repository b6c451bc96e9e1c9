"""campaigns.viewed.v1 (core NATS): somebody is watching. Losing some costs nothing, one comes every 10 s."""

from __future__ import annotations

import asyncio

import structlog
from flotilla_common.bus import outage
from flotilla_common.contracts.campaigns import CampaignViewedV1
from nats.aio.msg import Msg
from pydantic import ValidationError

from live_query.deps import Deps
from live_query.domain.campaigns import VIEWER_GRACE, VIEWER_LONGEST
from live_query.store import campaigns

log = structlog.get_logger()


async def handle(event: CampaignViewedV1, deps: Deps) -> None:
    """Let a viewer campaign live on. Idempotent: a deadline only grows."""
    now = deps.clock()
    async with deps.sessions.begin() as session:
        await campaigns.watch(session, event.campaign_id, now, now + VIEWER_GRACE, VIEWER_LONGEST)


async def listen(deps: Deps, *, ready: asyncio.Event) -> None:
    """Listen for ever; each message reaches one process of this service."""

    async def on_message(message: Msg) -> None:
        try:
            await handle(CampaignViewedV1.model_validate_json(message.data), deps)
        except outage.kinds(ValidationError) as error:
            log.warning("a viewer goes unnoticed", error=repr(error))

    subscription = await deps.bus.client.subscribe(CampaignViewedV1.subject, queue=deps.bus.name, cb=on_message)
    await deps.bus.settle()
    ready.set()
    try:
        await asyncio.Event().wait()
    finally:
        if deps.bus.client.is_connected:
            await subscription.unsubscribe()

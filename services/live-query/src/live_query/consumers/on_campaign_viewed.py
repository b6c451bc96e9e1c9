"""campaigns.viewed.v1 (core NATS): somebody is watching. Losing some costs nothing, one comes every 10 s."""

from __future__ import annotations

from flotilla_common.contracts.campaigns import CampaignViewedV1

from live_query.deps import Deps
from live_query.domain.campaigns import VIEWER_GRACE, VIEWER_LONGEST
from live_query.store import campaigns


async def handle(event: CampaignViewedV1, deps: Deps) -> None:
    """Let a viewer campaign live on. Idempotent: a deadline only grows."""
    now = deps.clock()
    async with deps.sessions.begin() as session:
        await campaigns.watch(session, event.campaign_id, now, now + VIEWER_GRACE, VIEWER_LONGEST)

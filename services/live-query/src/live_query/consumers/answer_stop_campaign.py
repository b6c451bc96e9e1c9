"""StopCampaignV1: end a live query."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.campaigns import CampaignStoppedV1, StopCampaignV1

from live_query.consumers.announcements import withdraw_or_leave
from live_query.deps import Deps
from live_query.domain.campaigns import stop_campaign


async def answer(request: StopCampaignV1, deps: Deps) -> CampaignStoppedV1:
    """Decide the end; the keeper closes the ledger. A repeat finds it decided."""
    async with deps.sessions.begin() as session:
        stopped = await stop_campaign(session, request.campaign_id, request.reason, now=deps.clock())
    if stopped:
        await withdraw_or_leave(deps, request.campaign_id)
    return CampaignStoppedV1(stopped=stopped)


RESPONDER = Responder(StopCampaignV1, answer)

"""PauseCampaignV1: ask nobody for a while, then go on."""

from __future__ import annotations

import structlog
from flotilla_common.bus import outage
from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.campaigns import CampaignPausedV1, PauseCampaignV1

from live_query.consumers.announcements import announce_again, silence
from live_query.deps import Deps
from live_query.domain.campaigns import pause_campaign

log = structlog.get_logger()


async def answer(request: PauseCampaignV1, deps: Deps) -> CampaignPausedV1:
    """Record it, then tell gateways; the keeper tells them when an outage prevents it. A repeat changes nothing."""
    async with deps.sessions.begin() as session:
        changed = await pause_campaign(session, request, now=deps.clock())
    try:
        if request.paused:
            await silence(deps, request.campaign_id)
        else:
            await announce_again(deps, request.campaign_id)
    except outage.kinds() as error:
        log.warning("pause waits", campaign_id=request.campaign_id, paused=request.paused, error=repr(error))
    return CampaignPausedV1(changed=changed)


RESPONDER = Responder(PauseCampaignV1, answer)

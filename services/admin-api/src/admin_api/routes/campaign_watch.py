"""Beside each viewer's feed: tell live-query that somebody watches, and make sure that the viewer still may.

This goes on while the viewer is slow to take what it is sent.
"""

from __future__ import annotations

import asyncio

import structlog
from flotilla_common.bus import outage
from flotilla_common.contracts.campaigns import CampaignViewedV1
from flotilla_common.db.models.live_query import Campaign

from admin_api.deps import Deps
from admin_api.domain import campaigns, sessions
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.viewer import Viewer
from admin_api.errors import Unauthenticated
from admin_api.routes.campaign_feed import CampaignFeed
from admin_api.routes.campaign_sockets import Refused

log = structlog.get_logger()

CHECK_SECONDS = 2.0


async def login_of(deps: Deps, token: str, *, prolong: bool = True) -> Viewer:
    """Return whose token it is.

    Raises:
        Refused: nobody's, or its owner must change the password first.

    """
    try:
        async with deps.sessions.begin() as session:
            viewer = await sessions.authenticate(
                session,
                token,
                now=deps.clock(),
                lifetime_seconds=deps.settings.session_seconds,
                prolong=prolong,
            )
    except Unauthenticated as error:
        raise Refused("unauthorized") from error
    if viewer.must_reset_password:
        raise Refused("unauthorized")
    return viewer


async def watch(deps: Deps, token: str, campaign: Campaign, feed: CampaignFeed) -> None:
    """Run until cancelled. A part that is down is waited for: nobody is sent away because of it.

    Raises:
        Refused: the viewer's login has ended, or it may not see this campaign any more.

    """
    campaign_id, clock = campaign.id or 0, asyncio.get_running_loop().time
    is_due = True  # at once: the campaign may be about to end for want of viewers
    while True:
        try:
            if not feed.ended and (is_due or deps.views.is_due(campaign_id, clock())):
                await deps.bus.send(CampaignViewedV1(campaign_id=campaign_id))
                deps.views.note(campaign_id, clock())
            is_due = False
            feed.see(visible_team_ids(await _check(deps, token, campaign)))
        except outage.kinds() as error:
            log.info("viewer could not be checked", campaign_id=campaign_id, error=repr(error))
        await asyncio.sleep(CHECK_SECONDS)


async def _check(deps: Deps, token: str, campaign: Campaign) -> Viewer:
    viewer = await login_of(deps, token, prolong=False)
    async with deps.sessions.begin() as session:
        if not await campaigns.may_watch(session, viewer, campaign, deps.sql_reader):
            raise Refused("forbidden")
    return viewer

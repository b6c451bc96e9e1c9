"""campaigns.offered.v1 (core NATS): hosts took the query and are silent so far. Losing one costs a detail."""

from __future__ import annotations

import base64

from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import CampaignOfferedV1

from live_query.deps import Deps
from live_query.store import ledger


async def handle(event: CampaignOfferedV1, deps: Deps) -> None:
    """Note it in the ledger. Idempotent: only pending hosts without a note get one."""
    host_ids = list(bitmap_of(base64.b64decode(event.bitmap)))
    async with deps.sessions.begin() as session:
        await ledger.note_offered(session, event.campaign_id, host_ids, deps.clock())

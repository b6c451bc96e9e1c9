"""Which hosts took a campaign's query and did not answer at once. Losing a report costs a detail of the ledger."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable, Iterator

from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.campaigns import CampaignOfferedV1

from agent_gateway.domain.campaigns import Campaigns

INTERVAL_SECONDS = 5.0  # who answers within this time is not reported: most do, and cost nothing
HOSTS_AT_ONCE = 100_000

Send = Callable[[CampaignOfferedV1], Awaitable[None]]


def reports(campaigns: Campaigns) -> Iterator[CampaignOfferedV1]:
    """Yield what is to be reported; each host once per campaign."""
    for campaign_id, host_ids in campaigns.silent_hosts().items():
        remaining = iter(host_ids)
        while part := list(itertools.islice(remaining, HOSTS_AT_ONCE)):
            yield CampaignOfferedV1(campaign_id=campaign_id, bitmap=base64.b64encode(bytes_of(part)).decode())


async def report_silent(campaigns: Campaigns, send: Send, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Report for ever."""
    while True:
        await asyncio.sleep(interval_seconds)
        for report in reports(campaigns):
            await send(report)

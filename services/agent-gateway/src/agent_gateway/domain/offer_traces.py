"""The first offers of each campaign in its trace, made afterwards: polls of hosts know nothing of traces."""

from __future__ import annotations

import asyncio

from flotilla_common.telemetry import context_from
from opentelemetry import trace

from agent_gateway.domain.campaigns import Campaigns

INTERVAL_SECONDS = 5.0
NANOSECONDS = 1_000_000_000
tracer = trace.get_tracer(__name__)


def show_first_offers(campaigns: Campaigns) -> None:
    """Make a span for each: from when this process had the campaign's command until it offered the query to a host."""
    for offer in campaigns.first_offers():
        tracer.start_span(
            "offer query",
            context=context_from({"traceparent": offer.trace_parent}),
            start_time=int(offer.held_since * NANOSECONDS),
            attributes={"campaign_id": offer.campaign_id, "host_id": offer.host_id},
        ).end(int(max(offer.held_since, offer.offered_at) * NANOSECONDS))


async def trace_offers(campaigns: Campaigns, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Show them for ever."""
    while True:
        await asyncio.sleep(interval_seconds)
        show_first_offers(campaigns)

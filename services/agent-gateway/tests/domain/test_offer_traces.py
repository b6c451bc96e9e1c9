"""A campaign's first offer is a span of its trace."""

from __future__ import annotations

import asyncio

from agent_gateway.domain.offer_traces import trace_offers
from flotilla_common.testing import eventually
from flotilla_common.testing.spans import Spans, trace_of

from ..conftest import House


async def test_the_first_offer_is_in_the_signed_trace_and_no_other_one_is(house: House, spans: Spans) -> None:
    keys = [house.inventory.add_host(number) for number in (1, 2)]
    await house.live_query.start(5, [1, 2])
    await eventually(lambda: 5 in house.gateway.campaigns.open_ids())
    before = house.gateway.now()
    for key in keys:
        await house.read(key)
    task = asyncio.create_task(trace_offers(house.gateway.campaigns, interval_seconds=0.01))
    await eventually(lambda: spans.named("offer query"))
    task.cancel()
    [offer] = spans.named("offer query")

    parent = house.gateway.campaigns.trace_parent(5)
    assert parent == f"00-{trace_of(offer)}-{offer.parent.span_id:016x}-01"
    assert offer.start_time <= before * 1e9 <= offer.end_time + 1000  # floats of Unix time are as exact as that
    assert offer.attributes["host_id"] == 1

"""A campaign's first offers are spans of its trace."""

from __future__ import annotations

import asyncio

from agent_gateway.domain.offer_traces import trace_offers
from flotilla_common.testing import eventually
from flotilla_common.testing.spans import Spans, trace_of

from ..conftest import House


async def test_first_offers_are_in_the_signed_trace(house: House, spans: Spans) -> None:
    keys = [house.inventory.add_host(number) for number in (1, 2)]
    await house.live_query.start(5, [1, 2])
    await eventually(lambda: 5 in house.gateway.campaigns.open_ids())
    before = house.gateway.now()
    for key in keys:
        await house.read(key)
    task = asyncio.create_task(trace_offers(house.gateway.campaigns, interval_seconds=0.01))
    await eventually(lambda: len(spans.named("offer query")) == 2)
    task.cancel()
    offers = spans.named("offer query")

    parent = house.gateway.campaigns.trace_parent(5)
    assert {f"00-{trace_of(offer)}-{offer.parent.span_id:016x}-01" for offer in offers} == {parent}
    # Floats of Unix time are exact to less than a microsecond.
    assert all(offer.start_time <= before * 1e9 <= offer.end_time + 1000 for offer in offers)
    assert [offer.attributes["host_id"] for offer in offers] == [1, 2]

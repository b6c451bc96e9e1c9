"""Reports of hosts that took a query and stayed silent."""

from __future__ import annotations

import asyncio
import base64

from agent_gateway.domain import silence
from agent_gateway.domain.silence import report_silent, reports
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import CampaignOfferedV1
from flotilla_common.testing import eventually

from ..conftest import BusFor, House


async def test_live_query_hears_who_took_a_query_and_stayed_silent(house: House, bus_for: BusFor) -> None:
    heard: list[CampaignOfferedV1] = []
    live_query = await bus_for("live_query")

    async def on_message(message) -> None:  # type: ignore[no-untyped-def]
        heard.append(CampaignOfferedV1.model_validate_json(message.data))

    await live_query.client.subscribe(CampaignOfferedV1.subject, cb=on_message)
    await live_query.settle()
    key = house.inventory.add_host(1)
    await house.live_query.start(5, [1, 2])
    await eventually(lambda: 5 in house.gateway.campaigns.open_ids())
    await house.read(key)
    task = asyncio.create_task(report_silent(house.gateway.campaigns, house.bus.send, interval_seconds=0.01))
    await eventually(lambda: heard)
    task.cancel()

    assert [(event.campaign_id, hosts(event)) for event in heard] == [(5, {1})]


async def test_a_report_has_a_bounded_number_of_hosts(house: House, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(silence, "HOSTS_AT_ONCE", 2)
    keys = [house.inventory.add_host(host_id) for host_id in range(1, 6)]
    await house.live_query.start(5, [1, 2, 3, 4, 5])
    await eventually(lambda: 5 in house.gateway.campaigns.open_ids())
    for key in keys:
        await house.read(key)
    early = list(reports(house.gateway.campaigns))
    events = list(reports(house.gateway.campaigns))

    assert early == []
    assert [len(hosts(event)) for event in events] == [2, 2, 1]
    assert set.union(*map(hosts, events)) == {1, 2, 3, 4, 5}


def hosts(event: CampaignOfferedV1) -> set[int]:
    return set(bitmap_of(base64.b64decode(event.bitmap)))

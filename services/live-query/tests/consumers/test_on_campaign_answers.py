"""Answers: each host counts once, whatever comes twice, late, or from the wrong host."""

from __future__ import annotations

from flotilla_common.contracts.campaigns import StopCampaignV1
from flotilla_common.testing import eventually

from ..conftest import answer_to


async def test_every_host_that_answers_is_in_the_ledger_and_in_redis_once(deps, running, fleet, start, gateway, books):
    hosts = await fleet.hosts(50)
    async with running(deps):
        campaign = await start(label_ids=[1])
        for host_id in hosts:
            await gateway.answer(host_id, answer_to(campaign.campaign_id, [{"id": str(host_id)}]))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.count(campaign.campaign_id) == {"answered": 50}
    assert sorted(await books.hosts_seen(campaign.campaign_id)) == hosts
    assert (await books.entries(campaign.campaign_id))[-1] == {"end": "complete"}


async def test_stop(deps, running, fleet, start, gateway, books, admin):
    hosts = await fleet.hosts(5)
    async with running(deps):
        campaign = await start(host_ids=hosts)
        await gateway.answer(hosts[0], answer_to(campaign.campaign_id))
        assert (await admin.request(StopCampaignV1(campaign_id=campaign.campaign_id))).stopped
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.count(campaign.campaign_id) == {"answered": 1, "cancelled": 4}

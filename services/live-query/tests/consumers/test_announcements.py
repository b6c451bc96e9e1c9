"""Bucket CAMPAIGNS forgets campaigns that ended long ago, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flotilla_common.contracts.campaigns import StartCampaignV1, StopCampaignV1
from flotilla_common.testing import eventually
from live_query.consumers import announcements, answer_start_campaign, answer_stop_campaign
from live_query.store import campaigns, commands
from nats.js.errors import Error


async def test_traces_are_wiped_a_day_after_the_end(deps, running, fleet, start, books, admin, clock):
    await fleet.hosts(1)
    async with running(deps):
        ended, left = await start(label_ids=[1]), await start(label_ids=[1])
        await admin.request(StopCampaignV1(campaign_id=ended.campaign_id))
        await eventually(lambda: books.is_complete(ended.campaign_id), timeout=30)
    both = {ended.campaign_id, left.campaign_id}
    await announcements.forget(deps)
    at_once = await commands.traces(deps.bus)
    clock.move(minutes=40)  # the other one runs for an hour
    await make_old(deps, ended.campaign_id, clock() - timedelta(hours=26))
    await announcements.forget(deps)

    assert at_once == both
    assert await commands.traces(deps.bus) == {left.campaign_id}
    assert (await commands.contents(deps.bucket)).commands == {left.campaign_id}


async def make_old(deps, campaign_id: int, cleared_at) -> None:
    async with deps.sessions.begin() as session:
        await campaigns.mark_cleared(session, [campaign_id], cleared_at)


async def test_a_campaign_that_is_stopped_while_it_is_started_is_not_left_in_the_bucket(deps, fleet, monkeypatch):
    hosts = await fleet.hosts(1)
    real = commands.put

    async def stopped_meanwhile(bucket, campaign_id, command) -> None:
        await answer_stop_campaign.answer(StopCampaignV1(campaign_id=campaign_id), deps)
        await real(bucket, campaign_id, command)

    monkeypatch.setattr(announcements.commands, "put", stopped_meanwhile)
    await answer_start_campaign.answer(StartCampaignV1(sql="SELECT 1", query_id=None, user_id=1, host_ids=hosts), deps)

    assert (await commands.contents(deps.bucket)).commands == frozenset()


async def test_a_campaign_that_is_stopped_while_it_is_announced_is_not_left_in_the_bucket(
    deps, running, fleet, start, monkeypatch
):
    await fleet.hosts(1)
    async with running(deps):
        campaign = await start(label_ids=[1])
    real = commands.put

    async def stopped_meanwhile(*arguments) -> None:
        await answer_stop_campaign.answer(StopCampaignV1(campaign_id=campaign.campaign_id), deps)
        await real(*arguments)

    monkeypatch.setattr(announcements.commands, "put", stopped_meanwhile)
    await announcements.announce(deps, campaign.campaign_id)

    assert (await commands.contents(deps.bucket)).commands == frozenset()


async def test_live_query_may_purge_its_own_bucket_only(deps):
    with pytest.raises((Error, TimeoutError)):
        await deps.bus.client.jetstream(timeout=0.5).purge_stream("ANSWERS")

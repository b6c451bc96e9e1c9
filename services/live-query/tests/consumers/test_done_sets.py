"""`<id>.done`: at most once a second, only when it changed, and the whole truth each time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from flotilla_common.bus.follow import Follower
from flotilla_common.contracts.campaigns import BUCKET, done_key
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from flotilla_common.testing import eventually
from live_query.consumers import housekeeping
from live_query.consumers.done_sets import DoneSets
from live_query.consumers.housekeeping import Keeper
from pyroaring import BitMap

from ..conftest import answer_to, done

EARLY_SECONDS = 0.9  # what two clocks and a busy machine may make of one second


async def follow_done(bus, campaign_id: int):
    """What a gateway hears of settled hosts: (time of the bucket, set)."""
    heard = []

    async def note(message) -> None:
        if message.data:
            heard.append((message.metadata.timestamp, set(BitMap.deserialize(message.data))))

    follower = Follower(bus, bucket_stream(BUCKET), [bucket_subject(BUCKET, done_key(campaign_id))], note)
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    return heard, task


async def test_sets_only_grow_and_come_at_most_once_a_second(deps, running, fleet, start, gateway):
    hosts = await fleet.hosts(41)
    async with running(deps):
        campaign = await start(label_ids=[1])
        heard, task = await follow_done(gateway.bus, campaign.campaign_id)
        for host_id in hosts[:40]:
            await gateway.answer(host_id, answer_to(campaign.campaign_id))
            await asyncio.sleep(0.05)
        await eventually(lambda: heard and heard[-1][1] == set(hosts[:40]), timeout=30)
        task.cancel()

    times = [time for time, _ in heard]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert all(gap > EARLY_SECONDS for gap in gaps)
    assert all(before < after for (_, before), (_, after) in pairwise(heard))


async def test_nothing_is_put_when_nothing_changed_also_by_the_next_keeper(deps, running, fleet, start, gateway):
    hosts = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        await gateway.answer(hosts[0], answer_to(number))
        await eventually(lambda: is_done(deps, number, {hosts[0]}), timeout=30)
    before = await deps.bucket.entry(done_key(number))
    next_keeper = DoneSets(deps)
    for _ in range(3):
        next_keeper.note([number])
        await next_keeper.publish()

    assert await deps.bucket.entry(done_key(number)) == before


async def test_a_set_that_the_bucket_lost_is_put_again(deps, running, fleet, start, gateway):
    hosts = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await gateway.answer(hosts[0], answer_to(campaign.campaign_id))
        await eventually(lambda: is_done(deps, campaign.campaign_id, {hosts[0]}), timeout=30)
    await deps.bucket.delete(done_key(campaign.campaign_id))
    async with running(deps):
        await eventually(lambda: is_done(deps, campaign.campaign_id, {hosts[0]}), timeout=30)


async def test_a_set_that_the_bucket_lost_is_put_again_by_the_keeper_that_put_it(
    deps, running, fleet, start, gateway, monkeypatch
):
    monkeypatch.setattr(housekeeping, "REPAIR_SECONDS", 1.0)
    hosts = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await gateway.answer(hosts[0], answer_to(campaign.campaign_id))
        await eventually(lambda: is_done(deps, campaign.campaign_id, {hosts[0]}), timeout=30)
        await deps.bucket.delete(done_key(campaign.campaign_id))
        await eventually(
            lambda: is_done(deps, campaign.campaign_id, {hosts[0]}), timeout=housekeeping.REPAIR_SECONDS + 15
        )


async def test_campaigns_without_a_settled_host_are_not_looked_at_by_the_repair(deps, running, fleet, start, gateway):
    hosts = await fleet.hosts(4)
    async with running(deps):
        silent = (await start(host_ids=hosts[:2])).campaign_id
        heard = (await start(host_ids=hosts[2:])).campaign_id
        forged = (await start(host_ids=hosts)).campaign_id
        await gateway.answer(hosts[2], answer_to(heard))
        await eventually(lambda: is_done(deps, heard, {hosts[2]}), timeout=30)
    await deps.bucket.put(done_key(forged), BitMap(hosts).serialize())
    keeper = Keeper(deps)
    await keeper._repair()
    looked_at = set(keeper._done._changed)
    await keeper._done.publish()

    assert looked_at == {heard, forged}
    assert silent not in looked_at
    assert await is_done(deps, forged, set())


async def is_done(deps, campaign_id: int, hosts: set[int]) -> bool:
    return await done(deps.bucket, campaign_id) == hosts

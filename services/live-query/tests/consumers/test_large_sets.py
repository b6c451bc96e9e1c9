"""Sets of hosts too large for a command or a bucket: in the object store by their hash, as long as they are needed."""

from __future__ import annotations

import pytest
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import StopCampaignV1, command_key, done_hash_of, done_key
from flotilla_common.testing import eventually
from live_query.consumers import announcements, done_sets
from live_query.consumers.announcements import LargeSets
from live_query.domain import campaigns as campaign_rules
from live_query.store import commands

from ..conftest import answer_to, verified


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(campaign_rules, "INLINE_BYTES", 0)
    monkeypatch.setattr(commands, "INLINE_BYTES", 0)
    monkeypatch.setattr(done_sets, "LARGE_EVERY_SECONDS", 0.1)


@pytest.fixture
def command(deps, signing_key):
    async def read(campaign_id: int):
        value = await deps.bucket.get(command_key(campaign_id))
        return None if value is None else verified(value, signing_key.public_key())

    return read


async def test_a_command_names_its_targets_by_their_hash(deps, running, fleet, start, command):
    hosts = await fleet.hosts(5)
    async with running(deps):
        campaign = await start(label_ids=[1])
    told = await command(campaign.campaign_id)

    assert told.targets == b""
    assert list(bitmap_of(await deps.objects.get(told.targets_hash))) == hosts


@pytest.mark.parametrize("lost", ["$O.TARGETS.>", "$O.TARGETS.C.>"], ids=["all", "the parts alone"])
async def test_targets_that_were_lost_are_put_again_and_told_again(deps, running, fleet, start, command, lost):
    await fleet.hosts(5)
    async with running(deps):
        campaign = await start(label_ids=[1])
    name = (await command(campaign.campaign_id)).targets_hash
    before = await deps.bucket.entry(command_key(campaign.campaign_id))
    await deps.bus.js.purge_stream("OBJ_TARGETS", subject=lost)

    await announcements.repair(deps)

    assert await deps.objects.get(name) is not None
    assert (await deps.bucket.entry(command_key(campaign.campaign_id)))[1] > before[1]


async def test_settled_hosts_are_named_by_hash_and_counted_by_the_next_keeper(deps, running, fleet, start, gateway):
    hosts = await fleet.hosts(5)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        for host_id in hosts[:3]:
            await gateway.answer(host_id, answer_to(number))
        await eventually(lambda: told_of(deps, number, set(hosts[:3])), timeout=30)

    assert await commands.done_count(deps.bucket, deps.objects, number) == 3


async def test_objects_go_when_nothing_names_them_any_more(deps, running, fleet, start, gateway, admin, books):
    hosts = await fleet.hosts(5)
    async with running(deps):
        ends, lasts = [(await start(label_ids=[1])).campaign_id for _ in range(2)]
        other = (await start(host_ids=hosts[:4])).campaign_id
        for host_id in hosts[:2]:
            await gateway.answer(host_id, answer_to(lasts))
        await eventually(lambda: told_of(deps, lasts, set(hosts[:2])), timeout=30)
        for number in (ends, other):
            await admin.request(StopCampaignV1(campaign_id=number))
            await eventually(lambda which=number: books.is_complete(which), timeout=30)
    sets = LargeSets(deps)
    await sets.sweep()
    once = await deps.objects.names()
    await sets.sweep()
    left = [await deps.objects.get(name) for name in await deps.objects.names()]

    assert len(once) >= 3
    assert sorted(list(bitmap_of(data)) for data in left) == sorted([hosts, hosts[:2]])


async def told_of(deps, campaign_id: int, hosts: set[int]) -> bool:
    value = await deps.bucket.get(done_key(campaign_id))
    name = None if value is None else done_hash_of(value)
    return name is not None and set(bitmap_of(await deps.objects.get(name))) == hosts

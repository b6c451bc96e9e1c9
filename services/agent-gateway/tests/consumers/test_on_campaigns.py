"""Bucket CAMPAIGNS with sets of hosts that are in the object store."""

from __future__ import annotations

from agent_gateway.domain.campaigns import Campaigns
from flotilla_common.bus.objects import digest_of
from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.campaigns import done_key, encode_done_hash
from flotilla_common.testing import eventually

from ..conftest import House


async def started(house: House, campaign_id: int) -> Campaigns:
    await eventually(lambda: campaign_id in house.gateway.campaigns.open_ids())
    return house.gateway.campaigns


async def test_targets_in_the_object_store_are_fetched_and_a_second_campaign_shares_them(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.live_query.start(5, [1, 2, 70_000], large=True)
    campaigns = await started(house, 5)
    asked = (await house.read(key))["queries"]
    for name in await house.live_query.objects.names():
        await house.live_query.objects.delete(name)
    await house.live_query.start(6, [1, 2, 70_000], large=True)
    await started(house, 6)

    assert list(asked.values()) == ["SELECT 5;"]  # type: ignore[attr-defined]
    assert campaigns.verdict(5, 70_000, house.gateway.now()) == "open"
    assert campaigns.verdict(5, 3, house.gateway.now()) == "foreign"


async def test_a_command_whose_targets_come_late_starts_without_being_sent_again(house: House) -> None:
    real, house.live_query.objects.put = house.live_query.objects.put, only_named  # type: ignore[method-assign]
    await house.live_query.start(6, [1, 2, 3], large=True)
    await house.live_query.start(7, [1])
    campaigns = await started(house, 7)
    before = campaigns.open_ids()
    await real(bytes_of([1, 2, 3]))

    await started(house, 6)
    assert before == {7}
    assert campaigns.verdict(6, 3, house.gateway.now()) == "open"
    assert house.gateway.counters.commands_refused == 0


async def only_named(data: bytes) -> str:
    """The name of what is not put."""
    return digest_of(data)


async def test_settled_hosts_in_the_object_store_are_not_asked_again(house: House) -> None:
    first, second = house.inventory.add_host(1), house.inventory.add_host(2)
    await house.live_query.start(5, [1, 2])
    campaigns = await started(house, 5)
    name = await house.live_query.objects.put(bytes_of([1]))
    await house.live_query.bucket.put(done_key(5), encode_done_hash("cd" * 32))  # gone: a newer one follows
    await house.live_query.bucket.put(done_key(5), encode_done_hash(name))
    await eventually(lambda: not campaigns.has_open(1))

    assert (await house.read(first))["queries"] == {}
    assert (await house.read(second))["queries"] != {}

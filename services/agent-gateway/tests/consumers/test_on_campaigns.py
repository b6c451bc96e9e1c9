"""Bucket CAMPAIGNS: sets of hosts that are in the object store, and the switch of all campaigns."""

from __future__ import annotations

import time

import msgspec
from agent_gateway.domain.campaigns import Campaigns
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.bus.objects import digest_of
from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.campaigns import (
    SWITCH_KEY,
    Released,
    done_key,
    encode_command,
    encode_done_hash,
    released_key,
)
from flotilla_common.testing import eventually
from pyroaring import BitMap

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


async def test_while_campaigns_are_halted_nobody_is_asked_and_answers_count(house: House) -> None:
    first, second = house.inventory.add_host(1), house.inventory.add_host(2)
    await house.live_query.start(5, [1, 2])
    campaigns = await started(house, 5)
    [name] = (await house.read(first))["queries"]
    await house.live_query.turn(halted=True)
    await eventually(lambda: campaigns.are_halted)
    halted = await house.read(second)
    body = {"node_key": first, "queries": {name: [{"a": "1"}]}, "statuses": {name: 0}}
    answer = (await house.post("distributed/write", body)).json()
    counted = dict(house.gateway.counters.answers)
    await house.live_query.start(6, [2])
    await started(house, 6)
    with_another = await house.read(second)
    await house.live_query.turn(halted=False)
    await eventually(lambda: not campaigns.are_halted)

    assert (halted, with_another) == ({"queries": {}}, {"queries": {}})
    assert (answer, counted) == ({}, {"open": 1})
    assert sorted((await house.read(second))["queries"].values()) == ["SELECT 5;", "SELECT 6;"]
    assert (await house.read(first))["queries"] == {}


async def test_a_broad_campaign_is_halted_too(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.live_query.start(5, list(range(1, 5000)))
    campaigns = await started(house, 5)
    await house.live_query.turn(halted=True)
    await eventually(lambda: campaigns.are_halted)
    halted = await house.read(key)
    await house.live_query.turn(halted=False)
    await eventually(lambda: not campaigns.are_halted)

    assert halted == {"queries": {}}
    assert list((await house.read(key))["queries"].values()) == ["SELECT 5;"]


async def test_the_switch_is_live_querys_alone_and_the_later_word_holds(house: House) -> None:
    gateway, now = house.gateway, time.time()
    await house.live_query.turn(halted=True, at=now + 10)
    await eventually(lambda: gateway.campaigns.are_halted)
    await house.live_query.turn(halted=False, at=now)  # an older word again
    await house.live_query.turn(halted=False, at=now + 20, key=Ed25519PrivateKey.generate())
    await house.live_query.bucket.put(SWITCH_KEY, b"halted: false")
    await eventually(lambda: gateway.counters.commands_refused == 2)
    await house.live_query.bucket.delete(SWITCH_KEY)
    await house.live_query.start(5, [1])
    await started(house, 5)

    assert gateway.campaigns.are_halted


async def test_a_command_is_no_switch_and_a_switch_no_command(house: House) -> None:
    await house.live_query.turn(halted=True)
    await eventually(lambda: house.gateway.campaigns.are_halted)
    value = await house.live_query.bucket.get(SWITCH_KEY)
    await house.live_query.start(5, [1])
    await started(house, 5)
    command = await house.live_query.bucket.get("5.command")
    await house.live_query.bucket.put("6.command", value)
    await house.live_query.bucket.put(SWITCH_KEY, command)
    await eventually(lambda: house.gateway.counters.commands_refused == 2)

    assert house.gateway.campaigns.open_ids() == {5}
    assert house.gateway.campaigns.are_halted


async def test_a_command_that_went_and_came_back_waits_for_whom_it_asked_a_moment_ago(house: House) -> None:
    keys = [house.inventory.add_host(number) for number in (1, 2, 3)]
    await house.live_query.start(5, [1, 2, 3])
    campaigns = await started(house, 5)
    names = [next(iter((await house.read(key))["queries"])) for key in keys]  # type: ignore[call-overload]
    await answered(house, keys[0], names[0])
    command = await house.live_query.bucket.get("5.command")
    await house.live_query.end(5)
    await eventually(lambda: not campaigns.open_ids())
    paused = [await house.read(key) for key in keys]
    await answered(house, keys[1], names[1])
    await house.live_query.bucket.put("5.command", command)
    await started(house, 5)

    assert paused == [{"queries": {}}] * 3
    assert house.gateway.counters.answers["ended"] == 1
    assert [bool((await house.read(key))["queries"]) for key in keys] == [False, False, False]
    assert [campaigns.has_open(number) for number in (1, 2, 3)] == [False, False, True]


async def answered(house: House, key: str, name: str) -> None:
    body = {"node_key": key, "queries": {name: [{"a": "1"}]}, "statuses": {name: 0}}
    assert (await house.post("distributed/write", body)).json() == {}


async def test_whom_a_ramped_campaign_asks_is_live_querys_word_alone(house: House) -> None:
    keys = {number: house.inventory.add_host(number) for number in (1, 2, 3)}
    await house.live_query.start(5, [1, 2, 3], ramped=True)
    campaigns = await started(house, 5)
    command = await house.live_query.bucket.get("5.command")
    await house.live_query.release(5, [2], key=Ed25519PrivateKey.generate())
    await house.live_query.release(6, [2], under=5)
    await house.live_query.bucket.put(released_key(5), BitMap([2]).serialize())
    await house.live_query.bucket.put(released_key(5), command)
    await eventually(lambda: house.gateway.counters.commands_refused == 4)
    before = [await house.read(key) for key in keys.values()]
    await house.live_query.release(5, [1])
    await eventually(lambda: campaigns.has_open(1))

    assert before == [{"queries": {}}] * 3
    assert {number for number, key in keys.items() if (await house.read(key))["queries"]} == {1}


async def test_released_hosts_in_the_object_store_are_fetched(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.live_query.start(5, [1, 2], ramped=True)
    campaigns = await started(house, 5)
    live_query = house.live_query
    payload = msgspec.json.encode(Released(5, b"", await live_query.objects.put(bytes_of([1]))))
    await live_query.bucket.put(released_key(5), encode_command(live_query.key.sign(payload), payload))
    await eventually(lambda: campaigns.has_open(1))

    assert (await house.read(key))["queries"] != {}

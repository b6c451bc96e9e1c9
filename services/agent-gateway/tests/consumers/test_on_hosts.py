"""Revocation and change of hosts, over the real stream."""

from __future__ import annotations

import asyncio

from agent_gateway.consumers.on_hosts import take
from agent_gateway.domain.hosts import HostCache
from flotilla_common.contracts.hosts import HostChangedV1, HostDeletedV1, HostEnrolledV1, HostRecord, ScopeChangedV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.testing import eventually

from ..conftest import House


async def is_refused(house: House, key: str) -> bool:
    return (await house.read(key)) == {"error": "invalid_node_key", "node_invalid": True}


async def test_a_deleted_host_is_refused_within_a_second(house: House) -> None:
    key = house.inventory.add_host()
    await house.read(key)

    await house.inventory.delete(key)

    assert await eventually(lambda: is_refused(house, key), timeout=1.0)


async def test_a_retired_key_is_refused_within_a_second_and_the_new_one_works(house: House) -> None:
    old, new = house.inventory.add_host(1), "new-key"
    await house.read(old)
    record = await house.inventory.change(old, node_key_hash=hash_node_key(new).hex())

    await house.inventory.tell(HostEnrolledV1(host=record, retired_key_hashes=(hash_node_key(old).hex(),)))

    assert await eventually(lambda: is_refused(house, old), timeout=1.0)
    assert await house.read(new) == {"queries": {}}


async def test_a_key_that_a_host_lost_is_refused_within_a_second_and_no_late_answer_brings_it_back(
    house: House,
) -> None:
    key = house.inventory.add_host(1)
    house.inventory.hold = asyncio.Event()
    reading = asyncio.create_task(house.read(key))
    await eventually(lambda: house.inventory.resolves)
    record = await house.inventory.change(key, node_key_hash=None)

    await house.inventory.tell(HostChangedV1(host=record, retired_key_hashes=(hash_node_key(key).hex(),)))
    await eventually(lambda: house.gateway.hosts.is_known_unknown(hash_node_key(key)), timeout=1.0)
    house.inventory.hold.set()

    assert (await reading)["error"] == "invalid_node_key"
    assert await is_refused(house, key)


async def test_a_transferred_host_gets_its_new_teams_config_within_a_second(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.post("config", {"node_key": key})
    house.merger.body = b'{"team":7}'

    await house.inventory.tell(HostChangedV1(host=await house.inventory.change(key, team_id=7)))

    async def has_new() -> bool:
        return (await house.post("config", {"node_key": key})).content == b'{"team":7}'

    assert await eventually(has_new, timeout=1.0)


async def test_a_change_of_scope_has_older_records_resolved_again(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.read(key)
    await house.inventory.change(key, scope_labels=(3,))

    await house.inventory.tell(ScopeChangedV1(revision=house.inventory.next_revision(), scope_labels=(3,)))
    await eventually(lambda: house.gateway.hosts.scope_revision == house.inventory.revision)
    await house.read(key)
    asked = len(house.inventory.resolves)
    await house.read(key)

    host = house.gateway.hosts.find(hash_node_key(key))
    assert host is not None
    assert host.scope_labels == (3,)
    assert len(house.inventory.resolves) == asked == 2


async def test_known_hosts_are_served_while_inventory_is_down(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.read(key)
    house.inventory.down = True
    house.gateway.hosts.doubt_everything()

    assert [await house.read(key) for _ in range(3)] == [{"queries": {}}] * 3


async def test_keys_asked_for_together_are_resolved_together(house: House) -> None:
    keys = [house.inventory.add_host(number) for number in range(1, 201)]

    replies = await asyncio.gather(*(house.read(key) for key in keys))

    assert replies == [{"queries": {}}] * 200
    assert len(house.inventory.resolves) < 20
    assert max(len(request.key_hashes) for request in house.inventory.resolves) <= 1000


async def test_a_host_deleted_while_its_key_is_being_resolved_stays_out(house: House) -> None:
    key = house.inventory.add_host(1)
    house.inventory.hold = asyncio.Event()
    reading = asyncio.create_task(house.read(key))
    await eventually(lambda: house.inventory.resolves)

    await house.inventory.delete(key)
    await eventually(lambda: house.gateway.hosts.is_known_unknown(hash_node_key(key)))
    house.inventory.hold.set()

    assert await reading == {"error": "invalid_node_key", "node_invalid": True}


async def test_a_host_enrolled_while_its_key_is_being_denied_comes_in(house: House) -> None:
    key = "fresh-key"
    house.inventory.hold = asyncio.Event()
    reading = asyncio.create_task(house.read(key))
    await eventually(lambda: house.inventory.resolves)
    record = HostRecord(host_id=9, revision=house.inventory.next_revision(), node_key_hash=hash_node_key(key).hex())

    await house.inventory.tell(HostEnrolledV1(host=record))
    await eventually(lambda: house.gateway.hosts.find(hash_node_key(key)))
    house.inventory.hold.set()

    assert await reading == {"queries": {}}


def test_an_event_may_come_twice_or_late() -> None:
    hosts = HostCache()
    hash_text = hash_node_key("k").hex()
    enrolled = HostEnrolledV1(host=HostRecord(host_id=1, revision=1, node_key_hash=hash_text))
    changed = HostChangedV1(host=HostRecord(host_id=1, revision=2, node_key_hash=hash_text, team_id=7))
    deleted = HostDeletedV1(host=HostRecord(host_id=1, revision=3, node_key_hash=hash_text))

    for event in (enrolled, changed, enrolled, changed):
        take(event.subject, event.model_dump_json().encode(), hosts)
    host = hosts.find(hash_node_key("k"))
    for event in (deleted, changed, enrolled, deleted):
        take(event.subject, event.model_dump_json().encode(), hosts)

    assert host is not None
    assert host.team_id == 7
    assert hosts.find(hash_node_key("k")) is None


async def test_an_event_that_makes_no_sense_has_everybody_resolved_again(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.read(key)

    await house.inventory.bus.js.publish(HostDeletedV1.subject, b"garbage")
    await eventually(lambda: house.gateway.hosts.generation == 1)
    await house.read(key)

    assert len(house.inventory.resolves) == 2

"""Two machines with one identity, told apart by their orbits, and both agents of each machine on one host."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import (
    DeleteHostsV1,
    EnrollHostV1,
    EnrollOrbitV1,
    IdentityHeld,
    ResolveNodeKeysV1,
    ResolveOrbitKeysV1,
)
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.db.models.inventory import Host
from inventory.consumers import (
    answer_delete_hosts,
    answer_enroll_host,
    answer_enroll_orbit,
    answer_resolve_node_keys,
    answer_resolve_orbit_keys,
)

from ..conftest import SECRET

UUID = "4C4C4544-0051-3610-8052-B4C04F4A3332"
SHARED = "hosts.identity_shared"


@dataclass
class Agent:
    """What an agent of a machine holds, and what became of its enrolls."""

    key: str = ""
    host_id: int = 0
    enrolls: int = 0
    held: int = 0
    hosts: set[int] = field(default_factory=set)

    def take(self, key: str, host_id: int) -> None:
        self.key, self.host_id = key, host_id
        self.enrolls += 1
        self.hosts.add(host_id)


@dataclass
class Machine:
    """A machine whose agents enroll when their key is not valid, as orbit and osqueryd do."""

    serial: str = ""
    instance: str = ""
    address: str = ""
    orbit: Agent | None = field(default_factory=Agent)
    osqueryd: Agent | None = field(default_factory=Agent)

    async def poll(self, deps) -> None:
        for agent, ask in ((self.orbit, self.poll_orbit), (self.osqueryd, self.poll_osqueryd)):
            if agent is not None:
                try:
                    await ask(agent, deps)
                except IdentityHeld:
                    agent.held += 1

    async def poll_orbit(self, agent: Agent, deps) -> None:
        request = ResolveOrbitKeysV1(key_hashes=(hash_node_key(agent.key).hex(),))
        if (await answer_resolve_orbit_keys.answer(request, deps)).hosts:
            return
        members = {"hardware_serial": self.serial, "remote_address": self.address}
        answer = await answer_enroll_orbit.answer(
            EnrollOrbitV1(enroll_secret=SECRET, hardware_uuid=UUID, **members), deps
        )
        agent.take(answer.orbit_node_key.get_secret_value(), answer.host.host_id)

    async def poll_osqueryd(self, agent: Agent, deps) -> None:
        request = ResolveNodeKeysV1(key_hashes=(hash_node_key(agent.key).hex(),))
        if (await answer_resolve_node_keys.answer(request, deps)).hosts:
            return
        details = {
            "system_info": {"hardware_serial": self.serial},
            "osquery_info": {"instance_id": self.instance},
        }
        answer = await answer_enroll_host.answer(
            EnrollHostV1(
                enroll_secret=SECRET,
                host_identifier=UUID.lower(),
                host_details=details,
                remote_address=self.address,
            ),
            deps,
        )
        agent.take(answer.node_key.get_secret_value(), answer.host.host_id)


def with_orbit_alone(serial: str, address: str = "") -> Machine:
    return Machine(serial, address=address, osqueryd=None)


@pytest.fixture
def live(deps, definitions, clock):
    """Let machines poll every ten seconds, one after the other."""

    async def run(*machines: Machine, rounds: int = 10, **settings: str) -> None:
        for _ in range(rounds):
            for machine in machines:
                clock.now += timedelta(seconds=10)
                await machine.poll(dataclasses.replace(deps, **settings))

    return run


def enrolls(*machines: Machine) -> list[int]:
    return [agent.enrolls for machine in machines for agent in (machine.orbit, machine.osqueryd) if agent is not None]


@pytest.mark.parametrize(
    ("differs", "serials", "addresses"),
    [
        ("hardware_serial", ("S-1", "S-2"), ("", "")),
        ("hardware_serial", ("S-1", "S-2"), ("192.0.2.1", "192.0.2.1")),
        ("address", ("S-1", "S-1"), ("192.0.2.1", "192.0.2.2")),
        ("address", ("", ""), ("192.0.2.1", "192.0.2.2")),
    ],
)
async def test_two_orbits_that_take_a_key_from_each_other_become_two_hosts(
    live, database, events, differs, serials, addresses
):
    first, second = map(with_orbit_alone, serials, addresses)

    await live(first, second)
    before = enrolls(first, second)
    await live(first, second, rounds=5)

    assert first.orbit.hosts == {first.orbit.host_id}
    assert first.orbit.host_id != second.orbit.host_id
    assert len(await database.rows(Host)) == 2
    assert max(before) <= 5
    assert enrolls(first, second) == before
    [event] = await events(SHARED)
    assert (event["host_id"], event["differs"], event["decision"]) == (first.orbit.host_id, differs, "separate")
    assert (event["newcomer_serial"], event["newcomer_address"]) == (serials[1], addresses[1])


PAIRS = {
    "serial": (("S-1", "i-1", ""), ("S-2", "i-2", "")),
    "serial, one image": (("S-1", "i-1", ""), ("S-2", "i-1", "")),
    "instance and address": (("S-1", "i-1", "192.0.2.1"), ("S-1", "i-2", "192.0.2.2")),
}


@pytest.mark.parametrize("differs", PAIRS)
async def test_both_agents_of_a_machine_end_on_one_host(live, database, events, differs):
    first, second = (Machine(*told) for told in PAIRS[differs])

    await live(first, second)
    before = enrolls(first, second)
    await live(first, second, rounds=10)

    assert first.orbit.host_id == first.osqueryd.host_id
    assert second.orbit.host_id == second.osqueryd.host_id
    assert first.orbit.host_id != second.orbit.host_id
    assert len(await database.rows(Host)) == 2
    assert enrolls(first, second) == before
    assert max(before) <= 5
    assert len(await events(SHARED)) == 1


@pytest.mark.parametrize("orbit_of", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("count", [2, 4])
async def test_machines_that_do_not_all_have_an_orbit_end_on_a_host_each(live, database, orbit_of, count):
    machines = [Machine(f"S-{number}", f"i-{number}") for number in range(count)]
    for number, machine in enumerate(machines):
        machine.orbit = Agent() if orbit_of[number % 2] else None

    await live(*machines)
    before = enrolls(*machines)
    await live(*machines, rounds=5)

    assert len({machine.osqueryd.host_id for machine in machines}) == len(await database.rows(Host)) == count
    for machine in machines:
        assert machine.orbit is None or machine.orbit.host_id == machine.osqueryd.host_id
    assert enrolls(*machines) == before


async def test_the_orbit_of_a_newcomer_leaves_with_its_osqueryd_and_its_old_key_is_told_to_be_dead(
    live, database, events
):
    first = Machine("S-1", "i-1", orbit=None)
    second = Machine("S-2", "i-2")
    await live(first, rounds=1)
    await live(second, first, second, rounds=1)
    [shared] = [event["host_id"] for event in await events(SHARED)]
    [told] = await events("hosts.changed")
    old_key_hash = hash_node_key(second.orbit.key).hex()

    await live(first, second, rounds=1)

    assert (shared, second.osqueryd.host_id != shared) == (first.osqueryd.host_id, True)
    assert (told["host"]["host_id"], told["host"]["orbit_key_hash"]) == (shared, None)
    assert told["retired_key_hashes"] == [old_key_hash]
    assert second.orbit.host_id == second.osqueryd.host_id


@pytest.mark.parametrize("serial", ["S-1", ""])
async def test_the_orbit_of_a_newcomer_without_a_serial_of_its_own_follows_when_the_firsts_orbit_takes_its_key(
    live, serial
):
    first = Machine("S-1", "i-1", "192.0.2.1", orbit=None)
    second = Machine(serial, "i-2", "192.0.2.2")
    await live(first, rounds=1)
    await live(second, first, rounds=10)
    before = (second.orbit.host_id, second.osqueryd.host_id != first.osqueryd.host_id)
    first.orbit = Agent()

    await live(second, first, rounds=5)

    assert before == (first.osqueryd.host_id, True)
    assert second.orbit.host_id == second.osqueryd.host_id
    assert first.orbit.host_id == first.osqueryd.host_id


async def test_the_orbit_of_a_newcomer_is_held_where_that_is_set(live, deps, database, events):
    first, second = with_orbit_alone("S-1"), with_orbit_alone("S-2")

    await live(first, second, rounds=20, same_identity="hold")

    [host] = await database.rows(Host)
    assert (host.id, host.orbit_key_hash) == (first.orbit.host_id, hash_node_key(first.orbit.key))
    assert (first.orbit.enrolls, second.orbit.enrolls) == (2, 1)
    assert second.orbit.held > 10
    assert [event["decision"] for event in await events(SHARED)] == ["hold"]
    await answer_delete_hosts.answer(DeleteHostsV1(host_ids=(host.id,)), deps)
    await live(second, rounds=1, same_identity="hold")
    assert [host.hardware_serial for host in await database.rows(Host)] == ["S-2"]


async def test_the_orbit_of_a_newcomer_whose_osqueryd_is_held_is_held_too(live, events):
    first, second = Machine("S-1", "i-1", orbit=None), Machine("S-2", "i-2", orbit=None)
    await live(first, second, rounds=5, same_identity="hold")
    second.orbit = Agent()

    await live(first, second, rounds=2, same_identity="hold")

    assert (second.orbit.enrolls, second.orbit.held) == (0, 2)


@pytest.mark.parametrize("first_has_orbit", [True, False])
@pytest.mark.parametrize(
    ("instances", "addresses"),
    [
        (("i-1", "i-2"), ("", "")),
        (("i-1", "i-2"), ("192.0.2.1", "192.0.2.2")),
        (("i-1", "i-2"), ("192.0.2.1", "192.0.2.1")),
        (("i-1", "i-1"), ("192.0.2.1", "192.0.2.2")),
        (("", ""), ("192.0.2.1", "192.0.2.2")),
    ],
)
@pytest.mark.parametrize("orbit_comes_first", [True, False])
async def test_the_first_machine_keeps_its_host_though_only_the_newcomer_tells_a_serial(
    live, database, events, orbit_comes_first, instances, addresses, first_has_orbit
):
    first = Machine("", instances[0], addresses[0])
    if not first_has_orbit:
        first.orbit = None
    second = Machine("S-2", instances[1], addresses[1])
    await live(first, rounds=2)
    if orbit_comes_first:
        second.osqueryd, osqueryd = None, second.osqueryd
        await live(second, rounds=1)
        second.osqueryd = osqueryd

    await live(second, first, rounds=20)
    before = enrolls(first, second)
    await live(second, first, rounds=10)

    assert first.osqueryd.host_id != second.osqueryd.host_id
    assert first.osqueryd.hosts == {first.osqueryd.host_id}
    assert len(await database.rows(Host)) == 2
    assert enrolls(first, second) == before
    assert max(before) <= 5
    assert len(await events(SHARED)) == 1


async def test_a_machine_that_took_anothers_place_for_good_keeps_the_host_with_both_agents(live, database, events):
    old, new = Machine("S-1", "i-1"), Machine("S-2", "i-2")
    await live(old, rounds=3)

    await live(new, rounds=20)

    assert new.orbit.hosts == new.osqueryd.hosts == old.orbit.hosts
    assert len(await database.rows(Host)) == 1
    assert await events(SHARED) == []


async def test_an_orbit_that_loses_its_key_and_moves_shares_nothing(live, database, events):
    machine = with_orbit_alone("S-1")
    for number in range(10):
        machine.address, machine.orbit.key = f"192.0.2.{number}", "lost"
        await live(machine, rounds=1)

    assert len(await database.rows(Host)) == 1
    assert await events(SHARED) == []


async def test_orbits_on_boards_without_a_serial_are_not_told_apart_by_what_stands_there(live, database, events):
    await live(with_orbit_alone("Default string"), with_orbit_alone("To be filled: serial"), rounds=5)

    [host] = await database.rows(Host)
    assert host.hardware_serial == ""
    assert await events(SHARED) == []

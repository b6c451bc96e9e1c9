"""Two machines with one identity: told apart, kept apart, told of once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import (
    DeleteHostsV1,
    EnrollHostV1,
    EnrollSecretUsedUp,
    IdentityHeld,
    ResolveNodeKeysV1,
)
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.db.models.inventory import Host, IdentityClaim
from flotilla_common.errors import Unavailable
from inventory.consumers import answer_delete_hosts, answer_enroll_host, answer_resolve_node_keys
from inventory.domain.identities import Machine

SHARED = "hosts.identity_shared"


@dataclass
class Clone:
    """A machine that enrolls when its key is not valid, as osqueryd does."""

    facts: dict[str, dict[str, str]]
    address: str = ""
    key: str = ""
    host_id: int = 0
    enrolls: int = 0
    held: int = 0
    hosts: set[int] = field(default_factory=set)

    async def poll(self, enroll, deps) -> None:
        """Show the key; when it is not valid, enroll."""
        answer = await answer_resolve_node_keys.answer(
            ResolveNodeKeysV1(key_hashes=(hash_node_key(self.key).hex(),)), deps
        )
        if answer.hosts:
            return
        try:
            enrolled = await enroll("Image-1", host_details=self.facts, remote_address=self.address)
        except IdentityHeld:
            self.held += 1
            return
        self.enrolls += 1
        self.key = enrolled.node_key.get_secret_value()
        self.host_id = enrolled.host.host_id
        self.hosts.add(self.host_id)


def machine(serial: str = "", instance: str = "", boot: str = "", address: str = "") -> Clone:
    return Clone(
        {"system_info": {"hardware_serial": serial, "boot_id": boot}, "osquery_info": {"instance_id": instance}},
        address,
    )


@pytest.fixture
def live(enroll, deps, clock):
    """Let machines poll every ten seconds, one after the other."""

    async def run(*clones: Clone, rounds: int = 20) -> None:
        for _ in range(rounds):
            for clone in clones:
                clock.now += timedelta(seconds=10)
                await clone.poll(enroll, deps)

    return run


PAIRS = {
    "hardware_serial": (machine("S-1", "i-1"), machine("S-2", "i-2")),
    "instance_id": (machine("S-1", "i-1"), machine("S-1", "i-2")),
    "boot_id": (machine("S-1", "i-1", "b-1"), machine("S-1", "i-1", "b-2")),
    "address": (machine("S-1", "i-1", address="192.0.2.1"), machine("S-1", "i-1", address="192.0.2.2")),
}


@pytest.mark.parametrize("differs", PAIRS)
async def test_two_living_machines_become_two_hosts_and_people_are_told_once(live, database, events, differs):
    first, second = (replace(clone, hosts=set()) for clone in PAIRS[differs])

    await live(first, second)

    assert first.host_id != second.host_id
    assert len(await database.rows(Host)) == 2
    assert max(first.enrolls, second.enrolls) <= 5
    [event] = await events(SHARED)
    assert (event["host_id"], event["differs"], event["decision"]) == (first.host_id, differs, "separate")
    assert event["newcomer_address"] == second.address


@pytest.mark.parametrize("differs", PAIRS)
async def test_a_machine_that_enrolled_long_ago_keeps_its_host_whenever_inventory_forgets(live, deps, clock, differs):
    first, second = (replace(clone, hosts=set()) for clone in PAIRS[differs])
    await live(first, rounds=1)
    clock.now += timedelta(days=3)

    for _ in range(20):
        for clone in (second, first):
            await live(clone, rounds=1)
            await answer_enroll_host.forget(deps)

    assert first.hosts == {first.host_id}
    assert second.host_id != first.host_id


async def test_the_first_machine_keeps_its_host(live):
    first, second = machine("S-1", "i-1"), machine("S-2", "i-2")

    await live(first, rounds=1)
    await live(first, second)

    assert first.hosts == {first.host_id}
    assert (first.enrolls, second.enrolls) == (2, 2)


async def test_when_all_is_settled_nobody_enrolls_again(live):
    first, second = machine("S-1", "i-1"), machine("S-2", "i-2")
    await live(first, second, rounds=5)
    before = (first.enrolls, second.enrolls)

    await live(first, second, rounds=20)

    assert (first.enrolls, second.enrolls) == before


async def test_a_newcomer_that_enrolls_again_finds_its_own_host(live, database):
    first, second = machine("S-1", "i-1"), machine("S-2", "i-2")
    await live(first, second)
    own = second.host_id
    second.key = "lost"

    await live(first, second, rounds=3)

    assert second.host_id == own
    assert len(await database.rows(Host)) == 2


async def test_five_clones_become_five_hosts_with_one_alert(live, database, events):
    clones = [machine(f"S-{number}", f"i-{number}") for number in range(5)]

    await live(*clones)
    before = [clone.enrolls for clone in clones]
    await live(*clones, rounds=3)

    assert len({clone.host_id for clone in clones}) == len(await database.rows(Host)) == 5
    assert [clone.enrolls for clone in clones] == before
    assert len(await events(SHARED)) == 1


async def test_a_newcomer_that_sends_its_enroll_again_needs_no_other_use_of_the_secret(live, enroll, definitions):
    first, second = machine("S-1", "i-1"), machine("S-2", "i-2")
    await live(first, second, rounds=2)
    await definitions.secret("once", max_uses=1)

    own = [await enroll("Image-1", "once", host_details=second.facts) for _ in range(2)]

    assert {answer.host.host_id for answer in own} == {second.host_id}
    with pytest.raises(EnrollSecretUsedUp):
        await enroll("Image-1", "once", host_details=first.facts)


async def test_an_identifier_that_is_made_to_be_its_own_newcomers_ends_in_a_refusal(enroll):
    fingerprint = Machine("S-2", "i-2").fingerprint("hardware_serial").hex()
    identifier = "x" * 246 + "#" + fingerprint[:8]
    for facts in (machine("S-1", "i-1").facts, machine("S-2", "i-2").facts, machine("S-1", "i-1").facts):
        await enroll(identifier, host_details=facts)

    with pytest.raises(Unavailable):
        await enroll(identifier, host_details=machine("S-2", "i-2").facts)


async def test_a_newcomer_is_held_where_that_is_set(deps, definitions, database, events, clock):
    holding = replace(deps, same_identity="hold")

    async def enroll(identifier, **members):
        request = EnrollHostV1(enroll_secret="secret-of-no-team", host_identifier=identifier, **members)
        return await answer_enroll_host.answer(request, holding)

    first, second = machine("S-1", "i-1"), machine("S-2", "i-2")
    for _ in range(20):
        for clone in (first, second):
            clock.now += timedelta(seconds=10)
            await clone.poll(enroll, holding)

    [host] = await database.rows(Host)
    assert (host.id, host.node_key_hash) == (first.host_id, hash_node_key(first.key))
    assert (first.enrolls, second.enrolls) == (2, 1)
    assert second.held > 10
    assert [event["decision"] for event in await events(SHARED)] == ["hold"]

    await answer_delete_hosts.answer(DeleteHostsV1(host_ids=(first.host_id,)), holding)
    await second.poll(enroll, holding)
    assert [host.hardware_serial for host in await database.rows(Host)] == ["S-2"]


async def test_a_machine_that_took_anothers_place_for_good_keeps_the_host(live, deps, clock, events, database):
    old, new = machine("S-1", "i-1"), machine("S-2", "i-2")
    await live(old, rounds=1)

    await live(new, rounds=20)

    assert new.host_id == old.host_id
    assert await events(SHARED) == []
    clock.now += timedelta(days=1)
    await answer_enroll_host.forget(deps)
    assert await database.rows(IdentityClaim) == []


async def test_a_machine_that_comes_back_when_the_other_is_long_gone_shares_nothing(live, clock, events):
    old, new = machine("S-1", "i-1"), machine("S-2", "i-2")
    for _ in range(4):
        await live(old, rounds=1)
        clock.now += timedelta(hours=1)
        await live(new, rounds=1)
        clock.now += timedelta(hours=1)

    assert old.host_id == new.host_id
    assert await events(SHARED) == []


async def test_a_machine_that_boots_and_moves_shares_nothing(enroll, events, database, clock):
    for number in range(10):
        clock.now += timedelta(seconds=10)
        facts = machine("S-1", "i-1", f"b-{number}").facts
        await enroll("Image-1", host_details=facts, remote_address=f"192.0.2.{number}")

    assert len(await database.rows(Host)) == 1
    assert await events(SHARED) == []


async def test_old_clients_that_tell_nothing_share_nothing(live, events, database):
    await live(machine(), machine(), rounds=5)

    assert len(await database.rows(Host)) == 1
    assert await events(SHARED) == []


async def test_a_deleted_host_leaves_no_claims(live, deps, database):
    first, second = machine("S-1", "i-1"), machine("S-2", "i-2")
    await live(first, second, rounds=4)

    await answer_delete_hosts.answer(DeleteHostsV1(host_ids=(first.host_id, second.host_id)), deps)

    assert await database.rows(IdentityClaim) == []

"""Limits of enroll secrets when orbit shows them: the same as osqueryd's, and one use for both agents of a host."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import (
    EnrollOrbitV1,
    EnrollSecretExpired,
    EnrollSecretUsedUp,
    EnrollSecretWrongNetwork,
    OrbitEnrolledV1,
)
from flotilla_common.db.models.inventory import EnrollSecretUse, Host
from inventory.consumers import answer_enroll_orbit

from ..conftest import SECRET

UUID = "4C4C4544-0051-3610-8052-B4C04F4A3332"
REFUSED = "hosts.enroll_refused"


@pytest.fixture
def orbit(deps, definitions):
    """Enroll an orbit by calling the handler, without the bus."""

    async def call(secret, uuid=UUID, **members):
        return await answer_enroll_orbit.answer(
            EnrollOrbitV1(enroll_secret=secret, hardware_uuid=uuid, **members), deps
        )

    return call


@pytest.fixture
def osqueryd(enroll):
    async def call(secret, uuid=UUID, **members):
        return await enroll(uuid.lower(), secret, **members)

    return call


@pytest.fixture
def agents(orbit, osqueryd):
    return {"orbit": orbit, "osqueryd": osqueryd}


@pytest.fixture
def uses(database):
    async def read():
        return [row.uses for row in await database.rows(EnrollSecretUse)]

    return read


ORDERS = pytest.mark.parametrize(("first", "second"), [("orbit", "osqueryd"), ("osqueryd", "orbit")])


async def test_a_secret_is_good_until_the_moment_it_expires(orbit, definitions, clock):
    await definitions.secret("soon", expires_at=clock.now + timedelta(seconds=1))
    await orbit("soon")
    clock.now += timedelta(seconds=1)

    with pytest.raises(EnrollSecretExpired):
        await orbit("soon")


async def test_a_secret_is_good_from_its_networks_alone(orbit, definitions, database):
    await definitions.secret("office", allowed_networks=["192.0.2.0/24"])
    for address in ("198.51.100.7", ""):
        with pytest.raises(EnrollSecretWrongNetwork):
            await orbit("office", remote_address=address)
    assert await database.rows(Host) == []

    assert (await orbit("office", remote_address="192.0.2.7")).host.host_id


async def test_each_orbit_is_a_use(orbit, definitions, database, uses):
    await definitions.secret("thrice", max_uses=3)

    answers = await asyncio.gather(*(orbit("thrice", f"A-{number}") for number in range(20)), return_exceptions=True)

    assert sum(isinstance(answer, OrbitEnrolledV1) for answer in answers) == 3
    assert {type(answer) for answer in answers} == {OrbitEnrolledV1, EnrollSecretUsedUp}
    assert (len(await database.rows(Host)), await uses()) == (3, [3])


async def test_a_copy_within_a_minute_is_no_other_use_and_anything_else_is(orbit, definitions, clock, uses):
    await definitions.secret("once", max_uses=1)
    await orbit("once", hostname="web-17")
    clock.now += timedelta(seconds=59)
    await orbit("once", hostname="web-17")

    with pytest.raises(EnrollSecretUsedUp):
        await orbit("once", hostname="web-18")
    clock.now += timedelta(seconds=61)
    with pytest.raises(EnrollSecretUsedUp):
        await orbit("once", hostname="web-17")
    assert await uses() == [1]


@ORDERS
async def test_orbit_and_osqueryd_of_one_host_are_one_use(agents, definitions, clock, uses, first, second):
    await definitions.secret("once", max_uses=1)
    before = await agents[first]("once")
    clock.now += timedelta(days=1)

    after = await agents[second]("once")

    assert after.host.host_id == before.host.host_id
    assert await uses() == [1]


@ORDERS
async def test_one_use_lets_each_agent_in_once(agents, definitions, clock, database, uses, first, second):
    await definitions.secret("once", max_uses=1)
    await agents[first]("once")
    await agents[second]("once")
    clock.now += timedelta(minutes=2)
    [before] = await database.rows(Host)

    for agent in (first, second, first):
        with pytest.raises(EnrollSecretUsedUp):
            await agents[agent]("once")

    assert await database.rows(Host) == [before]
    assert await uses() == [1]


@ORDERS
async def test_a_second_use_is_good_for_both_agents_again(agents, definitions, clock, uses, first, second):
    await definitions.secret("twice", max_uses=2)
    for _ in range(2):
        await agents[first]("twice")
        await agents[second]("twice")
        clock.now += timedelta(minutes=2)

    assert await uses() == [2]


@ORDERS
async def test_the_use_of_one_host_is_not_good_for_another(agents, definitions, first, second):
    await definitions.secret("once", max_uses=1)
    await agents[first]("once")

    with pytest.raises(EnrollSecretUsedUp):
        await agents[second]("once", "another-host")


OTHERS = {
    "serial": ({"serial": "S-1", "remote_address": "192.0.2.1"}, {"serial": "S-2", "remote_address": "192.0.2.1"}),
    "address, no serial": ({"remote_address": "192.0.2.1"}, {"remote_address": "192.0.2.2"}),
    "address, one serial": (
        {"serial": "S-1", "remote_address": "192.0.2.1"},
        {"remote_address": "192.0.2.2"},
    ),
    "nothing told": ({"serial": "S-1", "remote_address": "192.0.2.1"}, {}),
}


def told(agent, serial="", **members):
    """Return what an agent of such a machine tells."""
    if not serial:
        return members
    of_agent = {"orbit": {"hardware_serial": serial}, "osqueryd": {"host_details": system_info(serial)}}
    return members | of_agent[agent]


def system_info(serial):
    return {"system_info": {"hardware_serial": serial}}


@ORDERS
@pytest.mark.parametrize("differs", OTHERS)
async def test_another_machine_is_not_let_in_by_the_use_of_a_host(
    agents, definitions, database, uses, first, second, differs
):
    await definitions.secret("once", max_uses=1)
    owner, other = OTHERS[differs]
    await agents[first]("once", **told(first, **owner))
    before = await database.rows(Host)

    with pytest.raises(EnrollSecretUsedUp):
        await agents[second]("once", **told(second, **other))

    assert await database.rows(Host) == before
    assert (await agents[second]("once", **told(second, **owner))).host.host_id == before[0].id
    assert await uses() == [1]


async def test_the_use_of_an_orbit_that_followed_its_osqueryd_to_another_host_is_good_for_nobody_there(
    agents, definitions, events, uses
):
    await definitions.secret("once", max_uses=1)
    first, second = told("osqueryd", "S-1"), told("osqueryd", "S-2")
    await agents["osqueryd"](SECRET, **first)
    await agents["orbit"]("once", **told("orbit", "S-2"))
    for osqueryd in (second, first, second):
        await agents["osqueryd"](SECRET, **osqueryd)
    assert [event["host"]["orbit_key_hash"] for event in await events("hosts.changed")] == [None]

    with pytest.raises(EnrollSecretUsedUp):
        await agents["osqueryd"]("once", **first)

    assert await uses() == [1]


@ORDERS
async def test_a_machine_that_moved_is_let_in_by_the_use_of_its_other_agent(agents, definitions, uses, first, second):
    await definitions.secret("once", max_uses=1)
    await agents[first]("once", **told(first, "S-1", remote_address="192.0.2.1"))

    await agents[second]("once", **told(second, "S-1", remote_address="2001:db8::1"))

    assert await uses() == [1]


@ORDERS
async def test_the_use_of_one_secret_is_not_good_for_another(agents, definitions, first, second, uses):
    await definitions.secret("once", max_uses=1)
    await definitions.secret("none left", max_uses=0)
    await agents[first]("once")

    with pytest.raises(EnrollSecretUsedUp):
        await agents[second]("none left")


async def test_racing_agents_of_one_host_are_one_use(agents, definitions, database, uses):
    await definitions.secret("twice", max_uses=2)
    turns = [agents[name]("twice") for name in ("orbit", "osqueryd") * 4]

    await asyncio.gather(*turns)

    assert (len(await database.rows(Host)), await uses()) == (1, [1])


async def test_an_orbit_that_is_refused_leaves_key_and_token_as_they_are(orbit, definitions, database, clock):
    await definitions.secret("once", max_uses=1)
    before = (await orbit("once")).host.orbit_key_hash
    clock.now += timedelta(minutes=2)

    with pytest.raises(EnrollSecretUsedUp):
        await orbit("once")

    assert [host.orbit_key_hash.hex() for host in await database.rows(Host)] == [before]


async def test_people_are_told_once_an_hour_whichever_agent_is_refused(agents, definitions, events, clock):
    await definitions.secret("old", expires_at=clock.now)
    for agent in ("orbit", "osqueryd", "orbit"):
        with pytest.raises(EnrollSecretExpired):
            await agents[agent]("old", remote_address="192.0.2.7")

    [event] = await events(REFUSED)
    assert (event["reason"], event["host_identifier"]) == ("enroll_secret_expired", UUID)


@pytest.mark.parametrize(
    ("choice", "identifier"), [("provided", "i-1"), ("instance", "i-1"), ("uuid", UUID), ("hostname", "web-17")]
)
async def test_orbit_enrolls_by_what_the_installation_tells_hosts_apart_by(
    deps, definitions, database, choice, identifier
):
    await definitions.secret("any")
    request = EnrollOrbitV1(enroll_secret="any", hardware_uuid=UUID, osquery_identifier="i-1", hostname="web-17")

    await answer_enroll_orbit.answer(request, dataclasses.replace(deps, host_identifier=choice))

    assert [host.host_identifier for host in await database.rows(Host)] == [identifier]

"""Orbit's enroll and device tokens: one host with osqueryd, keys that die, tokens that live an hour."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from flotilla_common.contracts.device_tokens import (
    DeviceTokenInUse,
    OrbitKeyRetired,
    SetDeviceTokenV1,
    hash_device_token,
)
from flotilla_common.contracts.hosts import BadEnrollSecret, DeleteHostsV1, EnrollOrbitV1, ResolveOrbitKeysV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.db.models.inventory import DeviceToken, Host, HostSeen, LabelMembership
from flotilla_common.errors import Invalid, Unavailable
from inventory.consumers import (
    answer_delete_hosts,
    answer_enroll_orbit,
    answer_resolve_orbit_keys,
    answer_set_device_token,
)

from ..conftest import SECRET

UUID = "4C4C4544-0051-3610-8052-B4C04F4A3332"
TOLD = {"hardware_serial": "ABC1234", "hostname": "web-17", "platform": "ubuntu", "hardware_model": "M1"}


@pytest.fixture
def enroll_orbit(deps, definitions):
    """Enroll an orbit by calling the handler, without the bus."""

    async def call(uuid=UUID, secret=SECRET, **members):
        request = EnrollOrbitV1(enroll_secret=secret, hardware_uuid=uuid, **members)
        return await answer_enroll_orbit.answer(request, deps)

    return call


@pytest.fixture
def set_token(deps):
    async def call(enrolled, token):
        request = SetDeviceTokenV1(
            host_id=enrolled.host.host_id,
            orbit_key_hash=enrolled.host.orbit_key_hash,
            token_hash=hash_device_token(token).hex(),
        )
        return (await answer_set_device_token.answer(request, deps)).token

    return call


async def test_a_new_orbit_makes_a_host_that_was_never_seen_and_has_no_node_key(enroll_orbit, database, events):
    answer = await enroll_orbit(**TOLD)

    [host] = await database.rows(Host)
    assert host.orbit_key_hash == hash_node_key(answer.orbit_node_key.get_secret_value())
    assert (host.node_key_hash, host.host_identifier, host.uuid) == (None, UUID, UUID)
    assert (host.hostname, host.hardware_serial, host.platform) == ("web-17", "ABC1234", "ubuntu")
    assert host.last_enrolled_at == datetime(1970, 1, 2, tzinfo=UTC)
    assert {row.label_id for row in await database.rows(LabelMembership)} == {1, 3, 7}
    assert list(await database.rows(HostSeen)) == []
    [event] = await events()
    assert (event["subject"], event["first_time"]) == ("hosts.enrolled.v1", True)
    assert event["host"] == answer.host.model_dump(mode="json")


@pytest.mark.parametrize("orbit_first", [True, False])
@pytest.mark.parametrize("identifier", ["", "instance-1"])
async def test_orbit_and_osqueryd_are_one_host_in_either_order(
    enroll, enroll_orbit, database, events, orbit_first, identifier
):
    async def orbit():
        return await enroll_orbit(UUID, osquery_identifier=identifier, **TOLD)

    async def osqueryd():
        return await enroll((identifier or UUID).lower(), host_details={"system_info": {"hostname": "named"}})

    first = await (orbit() if orbit_first else osqueryd())
    second = await (osqueryd() if orbit_first else orbit())

    [host] = await database.rows(Host)
    assert first.host.host_id == second.host.host_id == host.id
    assert None not in (second.host.node_key_hash, second.host.orbit_key_hash)
    assert host.hostname == "named"
    assert (host.hardware_serial, host.orbit_serial) == ("ABC1234" if orbit_first else "", "ABC1234")
    assert [event["first_time"] for event in await events()] == [True, False]
    assert (await events())[-1]["retired_key_hashes"] == []


async def test_two_orbits_and_two_osqueryds_at_once_make_one_host(enroll, enroll_orbit, database):
    answers = await asyncio.gather(enroll(UUID), enroll_orbit(), enroll(UUID.lower()), enroll_orbit(UUID.lower()))

    [host] = await database.rows(Host)
    last = max(answers, key=lambda answer: answer.host.revision)
    assert (last.host.node_key_hash, last.host.orbit_key_hash) == (host.node_key_hash.hex(), host.orbit_key_hash.hex())


async def test_a_second_enroll_retires_the_old_orbit_key_and_its_token_and_not_the_node_key(
    enroll, enroll_orbit, set_token, database, events
):
    osqueryd = await enroll(UUID)
    first = await enroll_orbit()
    await set_token(first, "token-1")

    second = await enroll_orbit()

    assert second.host.node_key_hash == osqueryd.host.node_key_hash
    assert (await events())[-1]["retired_key_hashes"] == [first.host.orbit_key_hash]
    assert list(await database.rows(DeviceToken)) == []
    with pytest.raises(OrbitKeyRetired):
        await set_token(first, "token-2")


async def test_a_platform_that_orbit_tells_first_takes_its_host_out_of_no_label(enroll, enroll_orbit, database):
    await enroll(UUID, host_details={"osquery_info": {"build_platform": "linux"}})
    before = {row.label_id for row in await database.rows(LabelMembership)}

    await enroll_orbit(platform="alpine")

    assert [host.platform for host in await database.rows(Host)] == ["alpine"]
    assert {row.label_id for row in await database.rows(LabelMembership)} == before == {1, 7}


async def test_orbit_moves_its_host_to_the_team_of_the_secret(enroll, enroll_orbit, definitions):
    team = await definitions.team("Servers")
    await definitions.secret("of-servers", team)
    await enroll(UUID)

    assert (await enroll_orbit(secret="of-servers")).host.team_id == team


@pytest.mark.impatient
async def test_what_cannot_enroll_leaves_nothing(enroll_orbit, database, clock):
    with pytest.raises(BadEnrollSecret):
        await enroll_orbit(secret="wrong")
    with pytest.raises(Invalid):
        await enroll_orbit(" \x00")
    with pytest.raises(Unavailable):
        await enroll_orbit(waited_seconds=12.001)

    assert list(await database.rows(Host)) == []


async def test_of_two_copies_the_one_asked_later_keeps_its_key_when_it_comes_first(enroll_orbit, database, clock):
    newer = await enroll_orbit(waited_seconds=2.0)
    with pytest.raises(Unavailable):
        await enroll_orbit(waited_seconds=2.003)

    [host] = await database.rows(Host)
    assert host.orbit_key_hash.hex() == newer.host.orbit_key_hash


async def test_hostile_texts_are_stored_trimmed(enroll_orbit, database):
    await enroll_orbit(hostname="x\x00" * 5000, platform="Ubu$ntu\n", computer_name="\ud800ok")

    [host] = await database.rows(Host)
    assert (len(host.hostname), host.platform, host.computer_name) == (255, "ubuntu", "ok")


async def test_orbit_keys_are_resolved_and_node_keys_are_none(enroll, enroll_orbit, deps):
    node = (await enroll(UUID)).host.node_key_hash
    record = (await enroll_orbit()).host

    answer = await answer_resolve_orbit_keys.answer(
        ResolveOrbitKeysV1(key_hashes=(node, record.orbit_key_hash, "00" * 16)), deps
    )

    assert answer.hosts == (record,)
    assert answer.revision >= record.revision


async def test_a_token_is_stored_hashed_and_told(enroll_orbit, set_token, database, events, clock):
    enrolled = await enroll_orbit()

    token = await set_token(enrolled, "token-1")

    [row] = await database.rows(DeviceToken)
    assert (row.host_id, row.token_hash, row.set_at) == (enrolled.host.host_id, hash_device_token("token-1"), clock.now)
    [event] = await events("device_tokens.")
    assert event["token"] == token.model_dump(mode="json")


async def test_the_same_token_again_keeps_its_time_and_tells_nothing(enroll_orbit, set_token, events, clock):
    enrolled = await enroll_orbit()
    first = await set_token(enrolled, "token-1")
    clock.now += timedelta(minutes=50)

    assert await set_token(enrolled, "token-1") == first
    assert len(await events("device_tokens.")) == 1


async def test_another_token_replaces_the_one_before_with_a_higher_revision(enroll_orbit, set_token, database, clock):
    enrolled = await enroll_orbit()
    first = await set_token(enrolled, "token-1")
    clock.now += timedelta(minutes=50)

    second = await set_token(enrolled, "token-2")

    assert second.revision > first.revision
    assert [(row.token_hash, row.set_at) for row in await database.rows(DeviceToken)] == [
        (hash_device_token("token-2"), clock.now)
    ]


async def test_another_hosts_token_is_refused_and_the_own_one_stays(enroll_orbit, set_token, database):
    one, other = await enroll_orbit("A-1"), await enroll_orbit("A-2")
    await set_token(one, "token-1")
    await set_token(other, "token-2")

    with pytest.raises(DeviceTokenInUse):
        await set_token(other, "token-1")

    assert {row.token_hash for row in await database.rows(DeviceToken)} == {
        hash_device_token("token-1"),
        hash_device_token("token-2"),
    }


async def test_ten_hosts_that_send_one_token_at_once_leave_it_to_one(enroll_orbit, set_token, database):
    hosts = [await enroll_orbit(f"A-{number}") for number in range(10)]

    outcomes = await asyncio.gather(*(set_token(host, "same") for host in hosts), return_exceptions=True)

    assert sum(isinstance(outcome, DeviceTokenInUse) for outcome in outcomes) == 9
    assert len(await database.rows(DeviceToken)) == 1


async def test_a_deleted_host_takes_its_token_and_its_orbit_key_along(enroll_orbit, set_token, database, deps, events):
    enrolled = await enroll_orbit()
    await set_token(enrolled, "token-1")

    await answer_delete_hosts.answer(DeleteHostsV1(host_ids=(enrolled.host.host_id,)), deps)

    assert list(await database.rows(DeviceToken)) == []
    assert (await events("hosts.deleted"))[0]["host"]["orbit_key_hash"] == enrolled.host.orbit_key_hash


async def test_a_gateway_does_all_of_it_over_the_bus(running, definitions, gateway):
    enrolled = await gateway.request(EnrollOrbitV1(enroll_secret=SECRET, hardware_uuid=UUID))
    key_hash = hash_node_key(enrolled.orbit_node_key.get_secret_value()).hex()
    resolved = await gateway.request(ResolveOrbitKeysV1(key_hashes=(key_hash,)))
    request = SetDeviceTokenV1(host_id=enrolled.host.host_id, orbit_key_hash=key_hash, token_hash="00" * 16)

    assert resolved.hosts == (enrolled.host,)
    assert (await gateway.request(request)).token.orbit_key_hash == key_hash

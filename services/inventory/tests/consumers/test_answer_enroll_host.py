"""Enroll: good, again, refused, odd, and many at once."""

import asyncio
import json
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import BadEnrollSecret, EnrolledV1, EnrollHostV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.db.models.inventory import Host, HostSeen, LabelMembership
from flotilla_common.errors import Invalid, NotNow, Unavailable
from inventory.consumers.answer_enroll_host import RESPONDER

DETAILS = {
    "os_version": {"name": "Ubuntu", "version": "22.04 LTS", "major": "22", "platform": "ubuntu"},
    "osquery_info": {"version": "5.17.0", "instance_id": "i-1", "build_platform": "linux"},
    "system_info": {"hostname": "web-17", "cpu_brand": "Sample\x00\x00", "physical_memory": "1024", "uuid": "u-1"},
}


async def test_a_new_host_gets_a_row_a_key_labels_and_an_event(enroll, database, events):
    answer = await enroll("A-1", host_details=DETAILS, platform_type="9", remote_address="192.0.2.7")

    [host] = await database.rows(Host)
    assert host.node_key_hash == hash_node_key(answer.node_key.get_secret_value())
    assert (host.hostname, host.cpu_brand, host.memory_bytes) == ("web-17", "Sample", 1024)
    assert (host.platform, host.team_id, host.public_ip) == ("ubuntu", None, "192.0.2.7")
    assert {row.label_id for row in await database.rows(LabelMembership)} == {1, 3, 7}
    [event] = await events()
    assert event["subject"] == "hosts.enrolled.v1"
    assert event["first_time"] is True
    assert event["host"] == answer.host.model_dump(mode="json")
    assert [row.host_id for row in await database.rows(HostSeen)] == [host.id]


async def test_the_node_key_is_nowhere_in_the_database_or_the_event(enroll, database, events):
    key = (await enroll("A-1")).node_key.get_secret_value()

    [host] = await database.rows(Host)
    assert key not in repr(host.model_dump())
    assert key not in repr(await events())


async def test_a_second_enroll_keeps_the_host_changes_the_key_and_retires_the_old_one(enroll, database, events):
    first = await enroll("A-1", host_details=DETAILS)
    second = await enroll("a-1", host_details=DETAILS)

    [host] = await database.rows(Host)
    assert host.id == first.host.host_id == second.host.host_id
    assert second.host.node_key_hash != first.host.node_key_hash
    assert second.host.revision > first.host.revision
    event = (await events())[-1]
    assert event["first_time"] is False
    assert event["retired_key_hashes"] == [first.host.node_key_hash]


async def test_a_host_moves_to_the_team_of_the_secret_it_uses(enroll, definitions):
    team = await definitions.team("Servers")
    await definitions.secret("of-servers", team)
    assert (await enroll("A-1")).host.team_id is None

    assert (await enroll("A-1", "of-servers")).host.team_id == team
    assert (await enroll("A-1")).host.team_id is None


async def test_a_host_that_changed_its_system_changes_its_built_in_labels(enroll, database):
    await enroll("A-1", host_details=DETAILS)
    await enroll("A-1", host_details={"os_version": {"platform": "windows", "name": "Microsoft Windows 11"}})

    assert {row.label_id for row in await database.rows(LabelMembership)} == {1, 5}
    assert (await database.rows(Host))[0].hostname == "web-17"


async def test_an_unknown_secret_is_refused_and_leaves_nothing(enroll, database, events):
    with pytest.raises(BadEnrollSecret):
        await enroll("A-1", "wrong")

    assert list(await database.rows(Host)) == []
    assert await events() == []


async def test_a_host_without_an_identifier_is_refused(enroll):
    with pytest.raises(Invalid):
        await enroll(" \x00 ")


async def test_old_clients_without_host_details_enroll(enroll, database):
    await enroll("old")

    assert [host.platform for host in await database.rows(Host)] == [""]


async def test_twenty_enrolls_of_one_identifier_at_once_all_succeed_with_one_row(enroll, database, events):
    answers = await asyncio.gather(*(enroll(f"Clone-{'x' if n % 2 else 'X'}") for n in range(20)))

    [host] = await database.rows(Host)
    last = max(answers, key=lambda answer: answer.host.revision)
    assert host.node_key_hash is not None
    assert host.node_key_hash.hex() == last.host.node_key_hash
    assert len({answer.host.host_id for answer in answers}) == 1
    assert len({answer.host.revision for answer in answers}) == 20
    sent = await events()
    assert sum(event["first_time"] for event in sent) == 1
    retired = {text for event in sent for text in event["retired_key_hashes"]}
    assert retired == {answer.host.node_key_hash for answer in answers} - {last.host.node_key_hash}


async def test_of_two_copies_the_one_asked_later_keeps_its_key_when_it_comes_last(enroll, database, clock):
    first = await enroll("A-1")
    clock.now += timedelta(milliseconds=3)
    second = await enroll("A-1")

    [host] = await database.rows(Host)
    assert host.node_key_hash.hex() == second.host.node_key_hash != first.host.node_key_hash


async def test_of_two_copies_the_one_asked_later_keeps_its_key_when_it_comes_first(enroll, database, events):
    newer = await enroll("A-1", waited_seconds=2.0)
    [before] = await database.rows(Host)

    with pytest.raises(NotNow):  # which tells no gateway that this service is down
        await enroll("A-1", waited_seconds=2.003)

    [after] = await database.rows(Host)
    assert (after, after.node_key_hash.hex()) == (before, newer.host.node_key_hash)
    assert [event["retired_key_hashes"] for event in await events()] == [[]]


async def test_copies_of_many_askings_at_once_leave_the_key_of_the_last(enroll, database, clock):
    waits = [0.001 * n for n in range(10)]

    answers = await asyncio.gather(*(enroll("A-1", waited_seconds=wait) for wait in waits), return_exceptions=True)

    [host] = await database.rows(Host)
    assert host.node_key_hash.hex() == answers[0].host.node_key_hash
    assert host.last_enrolled_at == clock.now
    assert all(isinstance(answer, EnrolledV1 | Unavailable) for answer in answers)


@pytest.mark.impatient
async def test_an_enroll_that_nobody_waits_for_is_refused(enroll, database, clock):
    first = await enroll("A-1")
    clock.now += timedelta(seconds=60)

    with pytest.raises(Unavailable):
        await enroll("A-1", waited_seconds=12.001)
    with pytest.raises(Unavailable):
        await enroll("A-2", waited_seconds=12.001)

    assert [host.node_key_hash.hex() for host in await database.rows(Host)] == [first.host.node_key_hash]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_door_whose_clock_is_wrong_shuts_nobody_out(running, definitions, gateway, database, clock, hours):
    """A door of another release says when it was asked; its clock is its own affair."""
    for _ in range(2):
        sent = {
            "enroll_secret": "secret-of-no-team",
            "host_identifier": "A-1",
            "asked_at": (clock.now + timedelta(hours=hours)).isoformat(),
        }
        reply = await gateway.client.request(EnrollHostV1.subject, json.dumps(sent).encode(), timeout=10)
        answer = EnrolledV1.model_validate(json.loads(reply.data)["ok"])
        clock.now += timedelta(seconds=1)

    assert [host.node_key_hash.hex() for host in await database.rows(Host)] == [answer.host.node_key_hash]


def test_what_a_request_waits_here_is_added_to_what_it_waited_at_the_door():
    request = EnrollHostV1(enroll_secret="s", host_identifier="A-1", waited_seconds=2.0)

    assert RESPONDER.add_wait(request, 0.5).waited_seconds == 2.5


async def test_an_enroll_counts_as_seen(enroll, database, clock):
    await enroll("A-1")
    clock.now += timedelta(minutes=5)
    await enroll("A-1")

    [seen] = await database.rows(HostSeen)
    assert seen.seen_at == clock.now


async def test_a_gateway_enrolls_a_host_over_the_bus(running, definitions, gateway):
    answer = await gateway.request(EnrollHostV1(enroll_secret="secret-of-no-team", host_identifier="A-1"))

    assert answer.host.node_key_hash == hash_node_key(answer.node_key.get_secret_value()).hex()


async def test_a_bad_secret_arrives_at_the_gateway_as_such(running, definitions, gateway):
    with pytest.raises(BadEnrollSecret):
        await gateway.request(EnrollHostV1(enroll_secret="wrong", host_identifier="A-1"))

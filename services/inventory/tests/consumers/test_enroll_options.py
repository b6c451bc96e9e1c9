"""What an installation chooses about enrolls: what tells hosts apart, and how often they may enroll."""

from dataclasses import replace
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import EnrollHostV1, EnrollsTooOften
from flotilla_common.db.models.inventory import Host
from inventory.consumers import answer_enroll_host
from sqlalchemy import update

DETAILS = {
    "osquery_info": {"instance_id": "i-1", "uuid": "u-1", "pid": "812"},
    "system_info": {"hostname": "web-17"},
}
HOUR = timedelta(hours=1)


@pytest.fixture
def choose(deps, definitions):
    """Enroll with other settings."""

    async def call(identifier="A-1", details=DETAILS, **choices):
        request = EnrollHostV1(enroll_secret="secret-of-no-team", host_identifier=identifier, host_details=details)
        return await answer_enroll_host.answer(request, replace(deps, **choices))

    return call


@pytest.mark.parametrize(
    ("choice", "identifier"), [("provided", "A-1"), ("instance", "i-1"), ("uuid", "u-1"), ("hostname", "web-17")]
)
async def test_hosts_are_told_apart_as_the_installation_chooses(choose, database, choice, identifier):
    await choose(host_identifier=choice)

    assert [host.host_identifier for host in await database.rows(Host)] == [identifier]


@pytest.mark.parametrize("choice", ["instance", "uuid", "hostname"])
@pytest.mark.parametrize("details", [{}, {"osquery_info": {}, "system_info": {"hostname": " "}}])
async def test_what_is_missing_falls_back_to_what_osqueryd_says(choose, database, choice, details):
    await choose(details=details, host_identifier=choice)

    assert [host.host_identifier for host in await database.rows(Host)] == ["A-1"]


async def test_a_host_that_enrolls_too_often_is_held_off(choose, database, clock):
    first = await choose(enroll_cooldown=HOUR)
    clock.now += HOUR - timedelta(seconds=1)
    with pytest.raises(EnrollsTooOften, match="A-1 enrolling too often"):
        await choose("a-1", enroll_cooldown=HOUR)
    [held] = await database.rows(Host)
    clock.now += timedelta(seconds=1)
    second = await choose("a-1", enroll_cooldown=HOUR)

    assert held.node_key_hash.hex() == first.host.node_key_hash
    assert second.host.host_id == first.host.host_id
    assert second.host.node_key_hash != first.host.node_key_hash


async def test_the_same_request_sent_again_is_not_held_off(choose, clock):
    first = await choose(enroll_cooldown=HOUR)
    clock.now += timedelta(milliseconds=3)

    assert (await choose(enroll_cooldown=HOUR)).host.host_id == first.host.host_id


async def test_another_process_on_the_same_host_is_held_off(choose, clock):
    await choose(enroll_cooldown=HOUR)
    clock.now += timedelta(seconds=3)

    with pytest.raises(EnrollsTooOften):
        await choose(details=DETAILS | {"osquery_info": {"pid": "813"}}, enroll_cooldown=HOUR)


async def test_a_row_without_a_node_key_does_not_hold_osqueryd_off(choose, deps, clock):
    first = await choose(enroll_cooldown=HOUR)
    async with deps.sessions.begin() as session:
        await session.execute(update(Host).values(node_key_hash=None, last_enrolled_at=clock.now))

    assert (await choose("a-1", details={}, enroll_cooldown=HOUR)).host.host_id == first.host.host_id


async def test_without_a_cooldown_nobody_is_held_off(choose):
    first = await choose()

    assert (await choose("a-1")).host.host_id == first.host.host_id

"""Enroll secrets with limits: expiry, uses, networks; what hosts and people are told."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import (
    BadEnrollSecret,
    EnrolledV1,
    EnrollHostV1,
    EnrollSecretExpired,
    EnrollSecretUsedUp,
    EnrollSecretWrongNetwork,
)
from flotilla_common.db import engine as db
from flotilla_common.db.models.admin_api import EnrollSecret
from flotilla_common.db.models.inventory import EnrollRefusal, EnrollSecretUse, Host, HostSeen, LabelMembership
from flotilla_common.errors import Unavailable
from flotilla_common.settings import DatabaseSettings
from inventory.consumers import answer_enroll_host
from inventory.deps import Deps
from inventory.domain import admission
from pydantic import SecretStr
from sqlalchemy import delete, update

REFUSED = "hosts.enroll_refused"


@pytest.fixture
async def pooled(database, bus_for, bus_settings_for, secrets_key, clock):
    """Inventory with the connections that its process has: a bounded pool, kept open."""
    bus = bus_settings_for("inventory")
    settings = DatabaseSettings(
        nats_url=bus.nats_url,
        nats_user="inventory",
        nats_password=bus.nats_password,
        health_port=0,
        database_url=SecretStr(database.url("inventory")),
    )
    engine = db.create_engine(settings)
    yield Deps(sessions=db.session_maker(engine), bus=await bus_for("inventory"), secrets_key=secrets_key, clock=clock)
    await engine.dispose()


async def test_of_a_thousand_racing_enrolls_on_a_one_use_secret_exactly_one_wins(pooled, definitions, database, events):
    await definitions.secret("once", max_uses=1)
    slots = asyncio.Semaphore(answer_enroll_host.RESPONDER.concurrency)

    async def enroll(number: int) -> EnrolledV1:
        async with slots:
            return await answer_enroll_host.answer(
                EnrollHostV1(enroll_secret="once", host_identifier=f"A-{number}"), pooled
            )

    answers = await asyncio.gather(*(enroll(number) for number in range(1000)), return_exceptions=True)

    won = [answer for answer in answers if isinstance(answer, EnrolledV1)]
    assert len(won) == 1
    assert {type(answer) for answer in answers} == {EnrolledV1, EnrollSecretUsedUp}
    assert [host.id for host in await database.rows(Host)] == [won[0].host.host_id]
    assert [use.uses for use in await database.rows(EnrollSecretUse)] == [1]
    assert len(await database.rows(HostSeen)) == len({row.host_id for row in await database.rows(LabelMembership)}) == 1
    assert [event["subject"] for event in await events()] == ["hosts.enrolled.v1", "hosts.enroll_refused.v1"]


async def test_a_secret_of_three_uses_lets_three_in_at_once(enroll, definitions, database):
    await definitions.secret("thrice", max_uses=3)

    answers = await asyncio.gather(*(enroll(f"A-{n}", "thrice") for n in range(12)), return_exceptions=True)

    assert sum(isinstance(answer, EnrolledV1) for answer in answers) == 3
    assert len(await database.rows(Host)) == 3


async def test_racing_copies_of_one_enroll_are_one_use(enroll, definitions, database):
    await definitions.secret("once", max_uses=1)

    answers = await asyncio.gather(*(enroll("A-1", "once", platform_type="9") for _ in range(5)))

    assert len({answer.host.host_id for answer in answers}) == 1
    assert [use.uses for use in await database.rows(EnrollSecretUse)] == [1]


@pytest.mark.parametrize(
    ("members", "seconds"),
    [({"platform_type": "21"}, 1), ({"host_details": {"system_info": {"uuid": "other"}}}, 1), ({}, 61)],
)
async def test_another_enroll_of_the_same_host_is_another_use(enroll, definitions, clock, members, seconds):
    await definitions.secret("once", max_uses=1)
    first = {"platform_type": "9"}
    await enroll("A-1", "once", **first)
    clock.now += timedelta(seconds=seconds)

    with pytest.raises(EnrollSecretUsedUp):
        await enroll("A-1", "once", **(first | members))


async def test_a_host_that_is_refused_keeps_the_key_it_has(enroll, definitions, database, clock):
    await definitions.secret("once", max_uses=1)
    before = (await enroll("A-1", "once")).host.node_key_hash
    clock.now += timedelta(minutes=2)

    with pytest.raises(EnrollSecretUsedUp):
        await enroll("A-1", "once")

    assert [host.node_key_hash.hex() for host in await database.rows(Host)] == [before]


async def test_more_uses_can_be_allowed_later(enroll, definitions, database):
    await definitions.secret("once", max_uses=1)
    await enroll("A-1", "once")
    async with database.sessions().begin() as session:
        await session.execute(update(EnrollSecret).values(max_uses=2))

    assert (await enroll("A-2", "once")).host.host_id


async def test_a_secret_of_no_use_lets_nobody_in(enroll, definitions, database):
    await definitions.secret("never", max_uses=0)

    with pytest.raises(EnrollSecretUsedUp):
        await enroll("A-1", "never")

    assert await database.rows(Host) == []


async def test_a_secret_without_limit_is_not_counted(enroll, database):
    await enroll("A-1")

    assert await database.rows(EnrollSecretUse) == []


async def test_a_secret_is_good_until_the_moment_it_expires(enroll, definitions, clock):
    await definitions.secret("old", expires_at=clock.now + timedelta(hours=1))
    await enroll("A-1", "old")
    clock.now += timedelta(hours=1)

    with pytest.raises(EnrollSecretExpired):
        await enroll("A-2", "old")


@pytest.mark.parametrize("address", ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"])
async def test_a_secret_is_good_from_its_networks(enroll, definitions, address):
    await definitions.secret("office", allowed_networks=["192.0.2.0/24", "2001:db8::/32"])

    assert (await enroll("A-1", "office", remote_address=address)).host.host_id


@pytest.mark.parametrize("address", ["198.51.100.7", "2001:db9::1", "", "no address", "192.0.2.7, 198.51.100.7"])
async def test_a_secret_is_refused_from_elsewhere(enroll, definitions, address, database):
    await definitions.secret("office", allowed_networks=["192.0.2.0/24", "2001:db8::/32"])

    with pytest.raises(EnrollSecretWrongNetwork):
        await enroll("A-1", "office", remote_address=address)

    assert await database.rows(Host) == []


async def test_people_are_told_of_a_refusal_once_an_hour(enroll, definitions, events, clock):
    team = await definitions.team("Servers")
    await definitions.secret("old", team, expires_at=clock.now)
    refused = {"host_identifier": "A-\x001", "remote_address": "192.0.2.7"}

    async def try_it() -> None:
        with pytest.raises(EnrollSecretExpired):
            await enroll(refused["host_identifier"], "old", remote_address=refused["remote_address"])

    await asyncio.gather(*(try_it() for _ in range(5)))
    [event] = await events(REFUSED)
    clock.now += timedelta(hours=1)
    await try_it()

    assert len(await events(REFUSED)) == 2
    assert (event["team_id"], event["reason"]) == (team, "enroll_secret_expired")
    assert (event["host_identifier"], event["remote_address"]) == ("A-1", "192.0.2.7")


async def test_two_processes_tell_of_a_refusal_once(enroll, definitions, deps, events, clock):
    await definitions.secret("old", expires_at=clock.now)
    for _ in range(2):
        with pytest.raises(EnrollSecretExpired):
            await enroll("A-1", "old")
        deps.refusals_told.clear()  # as in a process that has told of nothing yet

    assert len(await events(REFUSED)) == 1


async def test_a_refusal_that_could_not_be_told_is_told_the_next_time(enroll, definitions, events, clock, monkeypatch):
    async def is_down(*_):
        raise Unavailable

    await definitions.secret("old", expires_at=clock.now)
    with monkeypatch.context() as patch:
        patch.setattr(admission, "tell_refusal", is_down)
        with pytest.raises(Unavailable):
            await enroll("A-1", "old")
    with pytest.raises(EnrollSecretExpired):
        await enroll("A-1", "old")

    assert len(await events(REFUSED)) == 1


async def test_nobody_is_told_of_secrets_that_do_not_exist(enroll, events):
    with pytest.raises(BadEnrollSecret):
        await enroll("A-1", "wrong")

    assert await events() == []


async def test_what_was_noted_about_removed_secrets_is_forgotten(enroll, definitions, deps, database):
    await definitions.secret("gone", max_uses=1)
    await definitions.secret("stays", max_uses=1)
    for secret in ("gone", "stays"):
        await enroll(f"of {secret}", secret)
        with pytest.raises(EnrollSecretUsedUp):
            await enroll("A-2", secret)
    gone, stays = [use.secret_id for use in await database.rows(EnrollSecretUse)]
    async with database.sessions().begin() as session:
        await session.execute(delete(EnrollSecret).where(EnrollSecret.id == gone))

    await answer_enroll_host.forget(deps)

    assert [use.secret_id for use in await database.rows(EnrollSecretUse)] == [stays]
    assert [refusal.secret_id for refusal in await database.rows(EnrollRefusal)] == [stays]

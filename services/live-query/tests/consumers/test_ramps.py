"""A campaign asks so many hosts at a time: more are released as answers come, and none is waited for without end."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import (
    Budget,
    PauseCampaignV1,
    Released,
    StartCampaignV1,
    StopCampaignV1,
    command_key,
    released_key,
    split_command,
)
from flotilla_common.db.models.admin_api import Team
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from live_query.consumers import answer_pause_campaign, answer_start_campaign
from live_query.consumers import ramps as pace
from live_query.consumers.announcements import LargeSets
from live_query.consumers.on_app_config import keep_switch
from live_query.consumers.ramps import Ramps
from live_query.store import commands, ledger, ramps

from ..conftest import answer_to, verified


@pytest.fixture(autouse=True)
def hurry(monkeypatch) -> None:
    monkeypatch.setattr(pace, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(pace, "LOOK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def released(deps):
    """The hosts that gateways are told of, as live-query has signed it."""

    async def read(campaign_id: int) -> list[int]:
        value = await deps.bucket.get(released_key(campaign_id))
        if value is None:
            return []
        signature, payload = split_command(value)
        deps.signing_key.public_key().verify(signature, payload)
        found = msgspec.json.decode(payload, type=Released)
        assert found.campaign_id == campaign_id
        return list(bitmap_of(found.hosts))

    return read


@pytest.fixture
def begin(deps):
    """Start one while nobody keeps house: who is released is then the test's doing alone."""

    async def ask(at_a_time: int, **members: object) -> int:
        asked = {"sql": "SELECT 1", "query_id": 7, "user_id": 3, "label_ids": (1,), "kind": "durable"} | members
        deadline, budget = utc_now() + timedelta(hours=1), Budget(hosts_at_a_time=at_a_time)
        request = StartCampaignV1(**asked, deadline=deadline, budget=budget)
        return (await answer_start_campaign.answer(request, deps)).campaign_id

    return ask


async def test_more_are_released_as_answers_and_failures_come(deps, running, fleet, start, gateway, released, books):
    hosts = await fleet.hosts(5)
    async with running(deps):
        number = (await start(label_ids=[1], budget=Budget(hosts_at_a_time=2))).campaign_id
        await eventually(lambda: is_released(released, number, hosts[:2]), timeout=30)
        await gateway.answer(hosts[0], answer_to(number))
        await eventually(lambda: is_released(released, number, hosts[:3]), timeout=30)
        await gateway.answer(hosts[1], answer_to(number, [], status=1, message="no"))
        await gateway.answer(hosts[2], answer_to(number))
        await eventually(lambda: is_released(released, number, hosts), timeout=30)
        command = verified(await deps.bucket.get(command_key(number)), deps.signing_key.public_key())
        for host in hosts[3:]:
            await gateway.answer(host, answer_to(number))
        await eventually(lambda: books.is_complete(number), timeout=30)

    assert command.ramped
    assert await released(number) == []


async def is_released(released, number: int, wanted: list[int]) -> bool:
    return await released(number) == wanted


async def test_one_without_a_ramp_asks_all_at_once(deps, running, fleet, start):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        await Ramps(deps).advance()
        command = verified(await deps.bucket.get(command_key(number)), deps.signing_key.public_key())

    assert not command.ramped
    assert await deps.bucket.get(released_key(number)) is None


async def test_silent_hosts_hold_others_up_for_a_minute_and_those_that_took_it_for_five(
    deps, fleet, begin, released, clock
):
    hosts = await fleet.hosts(6)
    number = await begin(2)
    ramp = Ramps(deps)
    await ramp.advance()
    first = await released(number)
    async with deps.sessions.begin() as session:
        await ledger.note_offered(session, number, [hosts[0]], clock())
    sets = []
    for seconds in (55, 10, 55, 10, 200):
        clock.move(seconds=seconds)
        for host in hosts:
            await fleet.last_seen(host, clock())
        await ramp.advance()
        sets.append(await released(number))

    assert first == hosts[:2]
    assert sets == [hosts[:2], hosts[:3], hosts[:3], hosts[:4], hosts[:6]]


async def test_hosts_that_are_offline_hold_nobody_up_and_are_released_when_they_are_back(
    deps, fleet, begin, released, clock
):
    away, *others = await fleet.hosts(3)
    await fleet.last_seen(away, utc_now() - timedelta(days=1))
    number = await begin(1)
    ramp = Ramps(deps)
    sets = []
    for _ in range(3):
        await ramp.advance()
        sets.append(await released(number))
        clock.move(seconds=61)
        for host in others:
            await fleet.last_seen(host, clock())
    await fleet.last_seen(away, clock())
    await ramp.advance()

    assert sets == [others[:1], others, others]
    assert await released(number) == [away, *others]


async def test_a_new_keeper_and_a_repair_tell_what_the_bucket_lost_and_release_no_more(deps, fleet, begin, released):
    hosts = await fleet.hosts(3)
    number = await begin(2)
    ramp = Ramps(deps)
    await ramp.advance()
    await commands.remove_released(deps.bucket, number)
    await Ramps(deps).advance()
    by_another = await released(number)
    await commands.remove_released(deps.bucket, number)
    await ramp.repair()
    await ramp.advance()

    assert by_another == await released(number) == hosts[:2]


async def test_nobody_is_released_while_it_is_paused_and_a_resume_may_widen_it(
    deps, running, fleet, begin, released, admin
):
    hosts = await fleet.hosts(4)
    number = await begin(1)
    async with running(deps):
        await eventually(lambda: is_released(released, number, hosts[:1]), timeout=30)
        await admin.request(PauseCampaignV1(campaign_id=number, paused=True))
        await Ramps(deps).advance()
        paused = await released(number)
        wider = Budget(hosts_at_a_time=3)
        await admin.request(PauseCampaignV1(campaign_id=number, paused=False, budget=wider))
        await eventually(lambda: is_released(released, number, hosts[:3]), timeout=30)
        await admin.request(StopCampaignV1(campaign_id=number))
        await eventually(lambda: is_released(released, number, []), timeout=30)

    assert paused == hosts[:1]


@pytest.fixture
def pass_time(clock, fleet):
    """Let time go by in which hosts are heard of."""

    async def move(hosts: list[int], seconds: float) -> None:
        clock.move(seconds=seconds)
        for host in hosts:
            await fleet.last_seen(host, clock())

    return move


async def two_released(deps, fleet, begin) -> tuple[list[int], int, Ramps]:
    hosts = await fleet.hosts(8)
    number, ramp = await begin(2), Ramps(deps)
    await ramp.advance()
    return hosts, number, ramp


async def test_nobody_is_released_while_all_are_halted_and_the_released_have_their_time_anew(
    deps, fleet, begin, released, disable, pass_time
):
    hosts, number, ramp = await two_released(deps, fleet, begin)
    await disable(True, quietly=True)
    for told in (False, True):  # administrators say so before gateways are told
        if told:
            await keep_switch(deps)
        await pass_time(hosts, 61)
        await ramp.advance()
    halted = await released(number)
    await disable(False, quietly=True)
    await ramp.advance()
    before_gateways_know = await released(number)
    await keep_switch(deps)
    await ramp.advance()
    at_once = await released(number)
    await pass_time(hosts, 61)
    await ramp.advance()

    assert halted == before_gateways_know == at_once == hosts[:2]
    assert await released(number) == hosts[:4]


async def test_long_pauses_release_nobody_and_who_had_had_his_time_before_is_not_waited_for_again(
    deps, fleet, begin, released, pass_time, clock
):
    hosts, number, ramp = await two_released(deps, fleet, begin)
    await pass_time(hosts, 61)
    await ramp.advance()
    for _ in range(3):
        await answer_pause_campaign.answer(PauseCampaignV1(campaign_id=number, paused=True), deps)
        await pass_time(hosts, 61)
        await answer_pause_campaign.answer(PauseCampaignV1(campaign_id=number, paused=False), deps)
        await ramp.advance()
    paused = await released(number)
    async with deps.sessions.begin() as session:
        waited_for = await ramps.awaited(session, number, clock())

    assert paused == hosts[:4]
    assert waited_for == 2


async def test_hosts_that_moved_to_where_nobody_is_asked_are_passed_over_until_they_are_back(
    deps, fleet, begin, released, database
):
    await database.add(Team(id=4, name="asked"), Team(id=5, name="not asked"))
    hosts = await fleet.hosts(4, 4)
    number = await begin(2, allowed_team_ids=(4,))
    await fleet.move(hosts[1], 5)
    ramp = Ramps(deps)
    await ramp.advance()
    first = await released(number)
    await fleet.move(hosts[0], 5)
    await ramp.advance()
    second = await released(number)
    async with deps.sessions.begin() as session:
        await ledger.note_offered(session, number, hosts[2:3], deps.clock())
    await fleet.move(hosts[2], 5)  # with the query
    await fleet.move(hosts[1], 4)
    await ramp.advance()

    assert first == [hosts[0], hosts[2]]
    assert second == await released(number) == [hosts[0], *hosts[2:]]


async def test_a_large_set_is_in_the_object_store_and_stays_there(deps, fleet, begin, monkeypatch):
    hosts = await fleet.hosts(3)
    number = await begin(2)
    monkeypatch.setattr(pace, "INLINE_BYTES", 0)
    await Ramps(deps).advance()
    _, payload = split_command(await deps.bucket.get(released_key(number)))
    found = msgspec.json.decode(payload, type=Released)
    sweeper = LargeSets(deps)
    for _ in range(3):
        await sweeper.sweep()

    assert found.hosts == b""
    assert list(bitmap_of(await deps.objects.get(found.hosts_hash))) == hosts[:2]


async def test_what_an_outage_kept_from_gateways_is_told_by_the_next_look(deps, fleet, begin, released, monkeypatch):
    hosts = await fleet.hosts(3)
    number = await begin(2)
    ramp = Ramps(deps)

    async def down(*_: object) -> None:
        raise Unavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(commands, "put_released", down)
        with pytest.raises(Unavailable):
            await ramp.advance()
    nobody = await released(number)
    await ramp.advance()

    assert nobody == []
    assert await released(number) == hosts[:2]

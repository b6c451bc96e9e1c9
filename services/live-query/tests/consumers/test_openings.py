"""Broad campaigns: gateways are told first, the ledger follows, and whoever dies in between loses nothing."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.campaigns import AnswerBatch, StartCampaignV1, StopCampaignV1
from flotilla_common.contracts.redis_keys import campaign_rows, campaign_seen
from flotilla_common.db.models.live_query import Campaign, Opening
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from live_query.consumers import announcements, answer_start_campaign, answer_stop_campaign
from live_query.consumers.archiving import Archiver
from live_query.domain import openings
from live_query.domain.settling import Received, settle
from live_query.store import commands
from sqlalchemy import text

from ..conftest import answer_to


@pytest.fixture(autouse=True)
def broad(monkeypatch):
    """Two hosts are many."""
    monkeypatch.setattr(openings, "BROAD_HOSTS", 1)


class Died(Exception):
    """The process was killed here."""


@pytest.fixture
def die_before_the_ledger(deps, monkeypatch):
    """Start a campaign and be killed when gateways are told; return its id."""

    async def begin(request_id=None) -> int:
        async def dead(*_: object) -> None:
            raise Died

        with monkeypatch.context() as patched:
            patched.setattr(answer_start_campaign, "finish", dead)
            with pytest.raises(Died):
                await answer_start_campaign.answer(request_of(request_id), deps)
        return max((await commands.contents(deps.bucket)).commands)

    return begin


def request_of(request_id=None) -> StartCampaignV1:
    return StartCampaignV1(sql="SELECT 1", query_id=7, user_id=3, label_ids=(1,), request_id=request_id)


async def test_gateways_are_told_while_there_is_no_campaign_for_anybody_else(deps, fleet, database, books, monkeypatch):
    hosts = await fleet.hosts(2)
    seen = []
    real = openings.finish

    async def look(*arguments) -> int:
        seen.append(((await commands.contents(deps.bucket)).commands, await database.rows(Campaign)))
        return await real(*arguments)

    monkeypatch.setattr(answer_start_campaign, "finish", look)
    started = await answer_start_campaign.answer(request_of(), deps)

    assert seen == [(frozenset({started.campaign_id}), [])]
    assert await books.states(started.campaign_id) == dict.fromkeys(hosts, "pending")
    assert await database.rows(Opening) == []


async def test_a_narrow_or_ramped_campaign_is_told_after_its_ledger(deps, fleet, books, monkeypatch):
    [host, _] = await fleet.hosts(2)
    real = answer_start_campaign.tell_or_leave

    async def look(deps, campaign_id, command, *, is_open: bool) -> bool:
        assert is_open
        assert set((await books.states(campaign_id)).values()) == {"pending"}
        return await real(deps, campaign_id, command, is_open=is_open)

    monkeypatch.setattr(answer_start_campaign, "tell_or_leave", look)
    narrow = request_of().model_copy(update={"label_ids": (), "host_ids": (host,)})
    ramped = StartCampaignV1.model_validate(request_of().model_dump() | {"budget": {"hosts_at_a_time": 1}})
    ids = {(await answer_start_campaign.answer(request, deps)).campaign_id for request in (narrow, ramped)}

    assert (await commands.contents(deps.bucket)).commands == ids


async def test_what_a_dead_process_left_is_finished_by_the_keeper(
    deps, running, fleet, books, clock, die_before_the_ledger
):
    hosts = await fleet.hosts(3)
    campaign_id = await die_before_the_ledger()
    await commands.withdraw(deps.bucket, campaign_id)  # the put was lost as well
    clock.move(seconds=10)
    async with running(deps):
        await eventually(lambda: has_campaign(books, campaign_id), timeout=30)
        await eventually(lambda: is_told(deps, campaign_id), timeout=30)

    assert await books.states(campaign_id) == dict.fromkeys(hosts, "pending")
    campaign = await books.campaign(campaign_id)
    assert (campaign.sql, campaign.user_id, campaign.query_id, campaign.kind) == ("SELECT 1", 3, 7, "viewer")
    assert campaign.counts["total"] == campaign.target_count == 3


async def has_campaign(books, campaign_id: int) -> bool:
    return campaign_id in {one.id for one in await books.database.rows(Campaign)}


async def is_told(deps, campaign_id: int) -> bool:
    return campaign_id in (await commands.contents(deps.bucket)).commands


async def test_an_answer_that_comes_before_the_ledger_counts(
    deps, running, fleet, books, gateway, die_before_the_ledger
):
    hosts = await fleet.hosts(2)
    campaign_id = await die_before_the_ledger()
    await gateway.answer(hosts[0], answer_to(campaign_id))
    async with running(deps):
        await eventually(lambda: has_campaign(books, campaign_id), timeout=30)
        await eventually(lambda: is_answered(books, campaign_id, hosts[0]), timeout=30)

    assert await books.states(campaign_id) == {hosts[0]: "answered", hosts[1]: "pending"}


async def is_answered(books, campaign_id: int, host_id: int) -> bool:
    return (await books.states(campaign_id))[host_id] == "answered"


async def test_repairs_leave_a_campaign_that_is_being_opened(deps, fleet, die_before_the_ledger):
    await fleet.hosts(2)
    campaign_id = await die_before_the_ledger()
    await announcements.repair(deps)
    await announcements.forget(deps)

    assert await is_told(deps, campaign_id)


async def test_what_redis_keeps_of_a_campaign_that_is_being_opened_stays(deps, fleet, books, die_before_the_ledger):
    hosts = await fleet.hosts(2)
    campaign_id = await die_before_the_ledger()
    batch = AnswerBatch(1, hosts[0], 0, 0, [answer_to(campaign_id)], "")
    async with deps.sessions.begin() as session:  # the answer is in Redis, and its campaign for nobody else yet
        await settle(session, deps.rows, [Received(batch, deps.clock())], deps.limits, now=deps.clock())
        await Archiver(deps).sweep()

    assert await books.redis.ttl(campaign_rows(campaign_id)) == -1
    assert await books.redis.ttl(campaign_seen(campaign_id)) == -1
    assert await books.states(campaign_id) == {hosts[0]: "answered", hosts[1]: "pending"}


async def test_who_tells_gateways_when_it_is_over_leaves_no_command(deps, fleet, books, monkeypatch):
    await fleet.hosts(2)
    real = commands.put

    async def put_late(bucket, campaign_id, command) -> None:
        async with deps.sessions.begin() as session:  # the keeper, and then a person: this process stood still so long
            await openings.finish(session, [campaign_id])
        await answer_stop_campaign.answer(StopCampaignV1(campaign_id=campaign_id), deps)
        await real(bucket, campaign_id, command)

    monkeypatch.setattr(announcements.commands, "put", put_late)
    started = await answer_start_campaign.answer(request_of(), deps)

    assert not await is_told(deps, started.campaign_id)
    assert await books.count(started.campaign_id) == {"pending": 2}


async def test_a_large_ledger_has_its_time(deps, fleet, books, die_before_the_ledger):
    await fleet.hosts(2)
    campaign_id = await die_before_the_ledger()
    async with deps.sessions.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = '10s'"))
        await openings.finish(session, [campaign_id])
        allowed = await session.scalar(text("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"))

    assert allowed >= 120_000
    assert await books.count(campaign_id) == {"pending": 2}


async def test_a_repeat_of_the_request_finishes_what_the_first_one_began(
    deps, fleet, database, books, die_before_the_ledger
):
    await fleet.hosts(2)
    request_id = uuid4()
    campaign_id = await die_before_the_ledger(request_id)
    repeat = await answer_start_campaign.answer(request_of(request_id), deps)

    assert repeat.campaign_id == campaign_id
    assert repeat.counts.total == 2
    assert await books.count(campaign_id) == {"pending": 2}
    assert await database.rows(Opening) == []


async def test_of_two_who_finish_it_at_once_one_does(deps, fleet, books, die_before_the_ledger):
    await fleet.hosts(2)
    campaign_id = await die_before_the_ledger()

    async def finish() -> int:
        async with deps.sessions.begin() as session:
            return await openings.finish(session, [campaign_id])

    assert sorted(await asyncio.gather(finish(), finish(), finish())) == [0, 0, 1]
    assert await books.count(campaign_id) == {"pending": 2}


async def test_gateways_that_cannot_be_told_first_are_told_when_the_ledger_is_written(deps, fleet, books, monkeypatch):
    await fleet.hosts(2)
    real, calls = commands.put, []

    async def fail_once(*arguments) -> None:
        calls.append(utc_now())
        if len(calls) == 1:
            raise Unavailable("the bus is away")
        await real(*arguments)

    monkeypatch.setattr(announcements.commands, "put", fail_once)
    started = await answer_start_campaign.answer(request_of(), deps)

    assert await is_told(deps, started.campaign_id)
    assert await books.count(started.campaign_id) == {"pending": 2}

"""Ends: by a stop, a deadline, the last viewer's leaving, or because nobody is awaited; and what everybody is told."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.campaigns import (
    Budget,
    CampaignViewedV1,
    StopCampaignV1,
    command_key,
    released_key,
)
from flotilla_common.contracts.redis_keys import campaign_rows, campaign_seen
from flotilla_common.db.models.live_query import Campaign
from flotilla_common.errors import NotFound
from flotilla_common.testing import eventually
from live_query.consumers import announcements, on_campaign_answers, on_campaign_viewed
from live_query.consumers.housekeeping import Keeper
from live_query.domain import settling
from live_query.domain.settling import Received
from live_query.store import campaigns, commands
from sqlalchemy import update
from sqlmodel import col

from ..conftest import answer_to


async def test_a_stop_cancels_who_has_not_answered(deps, running, fleet, start, gateway, books, admin):
    hosts = await fleet.hosts(5)
    async with running(deps):
        campaign = await start(host_ids=hosts)
        number = campaign.campaign_id
        await gateway.answer(hosts[0], answer_to(number))
        await eventually(lambda: books.hosts_seen(number), timeout=30)
        first = await admin.request(StopCampaignV1(campaign_id=number))
        command = await deps.bucket.get(command_key(number))
        again = await admin.request(StopCampaignV1(campaign_id=number))
        await eventually(lambda: books.is_complete(number), timeout=30)
        late = await admin.request(StopCampaignV1(campaign_id=number))

    assert (first.stopped, again.stopped, late.stopped) == (True, False, False)
    assert command is None  # gateways hear of it at once
    assert await books.count(number) == {"answered": 1, "cancelled": 4}
    assert (await books.entries(number))[-1] == {"end": "stopped"}
    assert (await books.campaign(number)).end_reason == "stopped"


async def test_an_answer_from_before_the_stop_counts(deps, running, fleet, start, gateway, books, admin):
    [early, silent] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
    await gateway.answer(early, answer_to(campaign.campaign_id))  # nobody reads it yet
    async with running(deps):
        await admin.request(StopCampaignV1(campaign_id=campaign.campaign_id))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.states(campaign.campaign_id) == {early: "answered", silent: "cancelled"}


async def test_the_reason_of_a_stop_is_told_without_what_no_text_can_hold(deps, running, fleet, start, books, admin):
    await fleet.hosts(1)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await admin.request(StopCampaignV1(campaign_id=campaign.campaign_id, reason="enough\x00" * 1000))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    [entry] = await books.entries(campaign.campaign_id)
    assert entry["end"].startswith("enoughenough")
    assert len(entry["end"]) == 200


async def test_many_campaigns_end_together_and_one_that_is_locked_holds_up_none(
    deps, running, fleet, start, gateway, books, monkeypatch
):
    hosts = await fleet.hosts(12)
    async with running(deps):
        numbers = [(await start(host_ids=[host])).campaign_id for host in hosts]
    received = [
        Received(gateway.batch(host, answer_to(number)), deps.clock())
        for host, number in zip(hosts, numbers, strict=True)
    ]
    async with deps.sessions.begin() as session:
        await settling.settle(session, deps.rows, received, deps.limits, now=deps.clock())
    commits = count_calls(monkeypatch, deps.bucket, "delete_all")
    keeper = Keeper(deps)
    async with deps.sessions.begin() as session:
        await campaigns.seize(session, numbers[3])  # somebody is at it
        completing = asyncio.create_task(keeper._complete())
        others = {*numbers} - {numbers[3]}
        await eventually(lambda: are_cleared(books, others), timeout=30)
        assert not await books.is_complete(numbers[3])
    await completing

    assert len(commits) < 6  # not one for each
    assert await are_cleared(books, set(numbers))
    assert (await commands.contents(deps.bucket)).commands == frozenset()
    assert [(await books.entries(number))[-1] for number in numbers] == [{"end": "complete"}] * 12


def count_calls(monkeypatch, owner, name: str) -> list[None]:
    real, calls = getattr(owner, name), []

    async def counted(*arguments):
        calls.append(None)
        return await real(*arguments)

    monkeypatch.setattr(owner, name, counted)
    return calls


async def are_cleared(books, numbers: set[int]) -> bool:
    return all([(await books.campaign(number)).cleared_at is not None for number in numbers])


async def test_what_is_left_of_a_ramped_campaign_at_one_host_is_removed(deps, running, fleet, start, gateway, books):
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], budget=Budget(hosts_at_a_time=1))).campaign_id
        await eventually(lambda: deps.bucket.get(released_key(number)), timeout=30)
        await gateway.answer(host, answer_to(number))
        await eventually(lambda: are_cleared(books, {number}), timeout=30)
        await announcements.repair(deps)

    assert await deps.bucket.keys() == []


async def test_an_unknown_campaign_cannot_be_stopped(deps, running, admin):
    async with running(deps):
        with pytest.raises(NotFound, match="77"):
            await admin.request(StopCampaignV1(campaign_id=77))


async def test_a_synchronous_campaign_ends_with_its_wait(deps, running, fleet, start, gateway, books):
    [quick, slow] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(kind="synchronous", wait_seconds=5.0, label_ids=[1])
        await gateway.answer(quick, answer_to(campaign.campaign_id))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.states(campaign.campaign_id) == {quick: "answered", slow: "expired"}
    assert (await books.entries(campaign.campaign_id))[-1] == {"end": "deadline"}


async def test_a_stop_after_the_deadline_does_not_turn_expired_into_cancelled(
    deps, fleet, start, running, books, admin, clock
):
    [host_id] = await fleet.hosts(1)
    clock.move(hours=-2)  # so that the stream's time is beyond the deadline too
    async with running(deps):
        campaign = await start(label_ids=[1], deadline=clock() + timedelta(seconds=30))
        clock.move(minutes=1)
        assert not (await admin.request(StopCampaignV1(campaign_id=campaign.campaign_id))).stopped
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.states(campaign.campaign_id) == {host_id: "expired"}


async def test_a_viewer_campaign_ends_a_minute_after_its_last_viewer_left(
    deps, fleet, start, running, books, admin, clock
):
    await fleet.hosts(1)
    clock.move(hours=-2)
    async with running(deps):
        campaign = await start(kind="viewer", label_ids=[1])
        number = campaign.campaign_id
        for _ in range(3):
            clock.move(seconds=45)
            watched_at = clock()
            await admin.send(CampaignViewedV1(campaign_id=number))
            await eventually(lambda since=watched_at: viewed_since(books, number, since), timeout=30)
        assert (await books.campaign(number)).status == "open"
        clock.move(seconds=70)
        await eventually(lambda: books.is_complete(number), timeout=30)

    assert await books.count(number) == {"expired": 1}
    assert await deps.bucket.get(command_key(number)) is None


async def test_no_viewer_can_keep_a_campaign_for_more_than_a_day(deps, fleet, start, running, books, clock):
    await fleet.hosts(1)
    async with running(deps):
        campaign = await start(kind="viewer", label_ids=[1])
    started_at = clock() - timedelta(hours=24) + timedelta(seconds=40)
    await change(books, campaign.campaign_id, created_at=started_at, deadline=clock() + timedelta(seconds=20))

    await on_campaign_viewed.handle(CampaignViewedV1(campaign_id=campaign.campaign_id), deps)

    assert (await books.campaign(campaign.campaign_id)).deadline == started_at + timedelta(hours=24)


async def test_watching_does_not_move_the_deadline_of_others_nor_wake_what_is_over(
    deps, fleet, start, running, books, clock
):
    await fleet.hosts(1)
    async with running(deps):
        durable = await start(label_ids=[1])
        viewer = await start(kind="viewer", label_ids=[1])
    before = {
        started.campaign_id: (await books.campaign(started.campaign_id)).deadline for started in (durable, viewer)
    }
    await on_campaign_viewed.handle(CampaignViewedV1(campaign_id=durable.campaign_id), deps)
    clock.move(minutes=10)
    await on_campaign_viewed.handle(CampaignViewedV1(campaign_id=viewer.campaign_id), deps)

    assert {number: (await books.campaign(number)).deadline for number in before} == before


async def test_viewers_whom_nobody_could_hear_are_spared(deps, fleet, start, running, books, clock):
    await fleet.hosts(1)
    async with running(deps):
        campaign = await start(kind="viewer", label_ids=[1])
    clock.move(minutes=10)  # live-query was down all the while

    await Keeper(deps).tick(set())

    row = await books.campaign(campaign.campaign_id)
    assert row.status == "open"
    assert row.deadline > clock()


async def test_a_campaign_waits_for_answers_that_came_before_its_deadline(
    deps, fleet, start, running, gateway, books, clock
):
    [host_id, silent] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(kind="synchronous", wait_seconds=3.0, label_ids=[1])
    await gateway.answer(host_id, answer_to(campaign.campaign_id))
    await eventually(lambda: utc_now() > campaign.created_at + timedelta(seconds=4))
    keeper = Keeper(deps)
    await keeper.tick(set())
    keeper._next_look = 0.0
    await keeper.tick(set())
    while_waiting = await books.states(campaign.campaign_id)
    async with running(deps):
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert while_waiting == {host_id: "pending", silent: "pending"}
    assert await books.states(campaign.campaign_id) == {host_id: "answered", silent: "expired"}


async def test_what_redis_counted_before_a_crash_counts_at_the_end(
    deps, fleet, start, running, gateway, books, clock, monkeypatch
):
    """Its message was buried meanwhile, or the stream was lost: viewers have seen the rows all the same."""
    [counted, silent] = await fleet.hosts(2)
    clock.move(hours=-2)
    async with running(deps):
        campaign = await start(label_ids=[1], deadline=clock() + timedelta(minutes=1))
    received = Received(gateway.batch(counted, answer_to(campaign.campaign_id)), clock())

    async def crash(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(settling.ledger, "settle", crash)
    with pytest.raises(RuntimeError):
        await on_campaign_answers.handle([[received]], deps)
    monkeypatch.undo()
    clock.move(minutes=5)
    async with running(deps):
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.states(campaign.campaign_id) == {counted: "answered", silent: "expired"}
    assert await books.hosts_seen(campaign.campaign_id) == [counted]


async def test_a_deleted_host_is_unreachable_and_its_campaign_ends_without_it(
    deps, running, fleet, start, gateway, inventory, books
):
    [gone, left] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
        other = await start(host_ids=[left])
        await inventory.delete(gone)
        await eventually(lambda: has_state(books, campaign.campaign_id, gone, "unreachable"), timeout=30)
        await gateway.answer(left, answer_to(campaign.campaign_id))
        await gateway.answer(gone, answer_to(campaign.campaign_id))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.states(campaign.campaign_id) == {gone: "unreachable", left: "answered"}
    assert await books.hosts_seen(campaign.campaign_id) == [left]
    assert await books.states(other.campaign_id) == {left: "pending"}


async def test_a_host_that_answered_and_is_deleted_stays_answered(
    deps, running, fleet, start, gateway, inventory, books
):
    [gone, left] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await gateway.answer(gone, answer_to(campaign.campaign_id))
        await eventually(lambda: has_state(books, campaign.campaign_id, gone, "answered"), timeout=30)
        await inventory.delete(gone)
        await inventory.delete(left)
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.states(campaign.campaign_id) == {gone: "answered", left: "unreachable"}


async def test_a_host_that_vanished_while_it_was_targeted_is_unreachable(deps, running, fleet, start, books):
    [gone, left] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
    await fleet.remove(gone)  # the event came before the campaign was committed
    async with running(deps):
        await eventually(lambda: has_state(books, campaign.campaign_id, gone, "unreachable"), timeout=30)

    assert await books.states(campaign.campaign_id) == {gone: "unreachable", left: "pending"}


async def test_rows_stay_until_they_are_archived(deps, running, fleet, start, gateway, books):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await gateway.answer(host_id, answer_to(campaign.campaign_id))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    for key in (campaign_rows(campaign.campaign_id), campaign_seen(campaign.campaign_id)):
        assert await books.redis.ttl(key) == -1  # there, and without an end


async def test_an_end_that_could_not_be_told_is_told_later(deps, running, fleet, start, books, admin, monkeypatch):
    await fleet.hosts(1)
    real = deps.rows.end

    async def down(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(deps.rows, "end", down)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await admin.request(StopCampaignV1(campaign_id=campaign.campaign_id))
        await eventually(lambda: has_status(books, campaign.campaign_id, "complete"), timeout=30)
        assert await books.entries(campaign.campaign_id) == []
        monkeypatch.setattr(deps.rows, "end", real)
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.entries(campaign.campaign_id) == [{"end": "stopped"}]


async def viewed_since(books, campaign_id: int, since) -> bool:
    viewed = (await books.campaign(campaign_id)).last_viewed_at
    return viewed is not None and viewed >= since


async def has_state(books, campaign_id: int, host_id: int, state: str) -> bool:
    return (await books.states(campaign_id))[host_id] == state


async def has_status(books, campaign_id: int, status: str) -> bool:
    return (await books.campaign(campaign_id)).status == status


async def change(books, campaign_id: int, **values: object) -> None:
    async with books.database.sessions().begin() as session:
        await session.execute(update(Campaign).where(col(Campaign.id) == campaign_id).values(**values))

"""A campaign is paused: nobody is asked, its ledger stays open, and it goes on where it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import (
    Budget,
    PauseCampaignV1,
    StopCampaignV1,
    command_key,
    done_key,
    released_key,
)
from flotilla_common.errors import Conflict, NotFound
from flotilla_common.testing import eventually
from live_query.consumers import announcements, answer_pause_campaign
from live_query.errors import EndedCampaign
from live_query.store import campaigns, commands

from ..conftest import answer_to


@pytest.fixture
def pause(admin):
    """Ask for a pause, or its end; return whether it changed anything."""

    async def ask(campaign_id: int, *, paused: bool, reason: str = "lunch") -> bool:
        return (await admin.request(PauseCampaignV1(campaign_id=campaign_id, paused=paused, reason=reason))).changed

    return ask


async def is_asked(deps, campaign_id: int) -> bool:
    return campaign_id in (await commands.contents(deps.bucket)).commands


async def test_nobody_is_asked_while_it_is_paused_and_answers_count(deps, running, fleet, start, pause, gateway, books):
    first, second = await fleet.hosts(2)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        command = await deps.bucket.get(command_key(number))
        assert await pause(number, paused=True)
        asked_while_paused = await is_asked(deps, number)
        await gateway.answer(first, answer_to(number))
        await eventually(lambda: has(books, number, answered=1, pending=1), timeout=30)
        assert await pause(number, paused=False)

        assert await deps.bucket.get(command_key(number)) == command
        await gateway.answer(second, answer_to(number))
        await eventually(lambda: books.is_complete(number), timeout=30)
    assert not asked_while_paused
    assert await books.count(number) == {"answered": 2}


async def has(books, campaign_id: int, **wanted: int) -> bool:
    return await books.count(campaign_id) == wanted


async def test_a_repeat_changes_nothing_and_what_has_ended_is_refused(deps, running, fleet, start, pause, admin, books):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        changes = [await pause(number, paused=paused) for paused in (False, True, True, False, False)]
        await admin.request(StopCampaignV1(campaign_id=number))
        for _ in range(2):  # it may be open still, then it is complete
            for paused in (True, False):
                with pytest.raises(Conflict, match="the live query has ended"):
                    await pause(number, paused=paused)
            await eventually(lambda: books.is_complete(number), timeout=30)
        with pytest.raises(NotFound):
            await pause(number + 1, paused=True)

    assert changes == [False, True, False, True, False]
    assert not await is_asked(deps, number)


async def test_one_past_its_deadline_is_refused_though_its_ledger_is_open(deps, fleet, start, running, clock, books):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1], deadline=clock() + timedelta(minutes=1))).campaign_id
    clock.move(minutes=2)
    for paused in (True, False):
        budget = None if paused else Budget(max_rows=9)
        request = PauseCampaignV1(campaign_id=number, paused=paused, budget=budget)
        with pytest.raises(EndedCampaign):
            await answer_pause_campaign.answer(request, deps)

    assert (await books.campaign(number)).status == "open"


async def test_a_repair_leaves_a_paused_one_silent_and_keeps_its_settled_hosts(
    deps, running, fleet, start, pause, gateway
):
    first, _ = await fleet.hosts(2)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        await gateway.answer(first, answer_to(number))
        await eventually(lambda: deps.bucket.get(done_key(number)), timeout=30)
        await pause(number, paused=True)
        await announcements.repair(deps)
        await announcements.forget(deps)

    assert not await is_asked(deps, number)
    assert list(bitmap_of(await deps.bucket.get(done_key(number)))) == [first]


async def test_a_pause_that_gateways_did_not_hear_of_is_told_by_the_repair(deps, running, fleet, start, pause):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        command = await deps.bucket.get(command_key(number))
        await pause(number, paused=True)
    await deps.bucket.put(command_key(number), command)
    await announcements.repair(deps)

    assert not await is_asked(deps, number)


async def test_a_paused_one_can_be_stopped_and_expires_as_others_do(
    deps, running, fleet, start, pause, admin, books, clock
):
    await fleet.hosts(1)
    clock.move(hours=-2)  # so that the stream's time is beyond the deadline too
    async with running(deps):
        deadline = clock() + timedelta(minutes=1)
        stopped, expired = [(await start(label_ids=[1], deadline=deadline)).campaign_id for _ in range(2)]
        for number in (stopped, expired):
            await pause(number, paused=True)
        await admin.request(StopCampaignV1(campaign_id=stopped))
        await eventually(lambda: books.is_complete(stopped), timeout=30)
        clock.move(minutes=2)
        await eventually(lambda: books.is_complete(expired), timeout=30)

    assert await books.count(stopped) == {"cancelled": 1}
    assert await books.count(expired) == {"expired": 1}


async def test_a_resume_that_gateways_did_not_hear_of_is_told_with_who_is_settled_and_released(
    deps, running, fleet, start, pause, gateway, clock
):
    """Gateways have forgotten both when the pause took more than an hour; they take neither before the command."""
    first, *_ = await fleet.hosts(3)
    async with running(deps):
        number = (await start(label_ids=[1], budget=Budget(hosts_at_a_time=2))).campaign_id
        await gateway.answer(first, answer_to(number))
        for key in (done_key(number), released_key(number)):
            await eventually(lambda key=key: deps.bucket.get(key), timeout=30)
        await pause(number, paused=True)
    async with deps.sessions.begin() as session:  # and here live-query is killed
        assert await campaigns.resume(session, number, clock())

    await announcements.repair(deps)

    asked, settled, released = [
        await deps.bucket.entry(key) for key in (command_key(number), done_key(number), released_key(number))
    ]
    assert asked[1] < min(settled[1], released[1])

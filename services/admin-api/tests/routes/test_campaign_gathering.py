"""Small answers are read and looked up many at a time, whoever watches and however they come; large ones a few."""

from __future__ import annotations

import pytest
from admin_api.routes import campaign_feed
from admin_api.store import campaign_hosts
from admin_api.store.campaign_rows import GATHERED_BYTES, MOST_ENTRIES, START
from flotilla_common.db.models.inventory import Host
from sqlalchemy import update
from sqlmodel import col

HOSTS = 60


@pytest.fixture
async def campaign(fleet, live_query):
    hosts = [await fleet.host(f"h{number}") for number in range(HOSTS)]
    return await live_query.campaign(hosts), hosts


@pytest.fixture
def looks(monkeypatch):
    """How many hosts were looked up at each time."""
    seen, real = [], campaign_hosts.in_sight

    async def look(session, host_ids, teams):
        seen.append(len(host_ids))
        return await real(session, host_ids, teams)

    monkeypatch.setattr(campaign_hosts, "in_sight", look)
    return seen


async def positions(deps, number):
    return [entry.position for entry in await deps.results.read(number, START, block_ms=1)]


async def test_small_answers_are_read_in_one_go(deps, live_query, campaign):
    number, hosts = campaign
    for host in hosts:
        await live_query.answer(number, host)
    first = (await positions(deps, number))[0]

    found = await deps.results.read(number, first, block_ms=1)

    assert [entry.host_id for entry in found] == hosts[1:]


async def test_large_answers_are_read_a_few_at_a_time(deps, live_query, campaign):
    number, hosts = campaign
    for host in hosts[: 3 * MOST_ENTRIES]:
        await live_query.answer(number, host, [{"text": "x" * (GATHERED_BYTES // MOST_ENTRIES)}])
    first = (await positions(deps, number))[0]

    found = await deps.results.read(number, first, block_ms=1)

    assert [entry.host_id for entry in found] == hosts[1 : 1 + MOST_ENTRIES]


async def test_who_looks_at_many_answers_looks_hosts_up_a_few_times(live_query, admin, watching, campaign, looks):
    number, hosts = campaign
    for host in hosts:
        await live_query.answer(number, host)

    async with watching(admin, number) as viewer:
        results = await viewer.results(HOSTS)

    assert [result["host"]["id"] for result in results] == hosts
    assert sum(looks) == HOSTS
    assert len(looks) <= 6  # a first answer, then twice as many each time, then all that there are


async def test_answers_that_come_one_by_one_are_shown_together(
    live_query, admin, watching, campaign, looks, monkeypatch
):
    monkeypatch.setattr(campaign_feed, "GATHER_SECONDS", 1.0)
    number, hosts = campaign
    seen = []

    async with watching(admin, number) as viewer:
        for host in hosts[:3]:  # the first ones are not kept waiting for others
            await live_query.answer(number, host)
            seen += await viewer.results(1)
        for host in hosts[3:13]:
            await live_query.answer(number, host)
        seen += await viewer.results(10)

    assert [result["host"]["id"] for result in seen] == hosts[:13]
    assert len(looks) <= 3 + 3


async def test_a_host_that_leaves_while_a_slow_viewer_is_sent_others_is_not_shown(
    fleet, make_team, make_user, live_query, watching, database, monkeypatch
):
    monkeypatch.setattr(campaign_feed, "SIGHT_SECONDS", 0.0)  # the viewer takes an answer in more than that
    own, other = await make_team("Own"), await make_team("Other")
    member = await make_user("maintainer", own)
    hosts = [await fleet.host(f"h{number}", own) for number in range(HOSTS)]
    number = await live_query.campaign(hosts, member.user_id)
    for host in hosts:
        await live_query.answer(number, host)
    look = campaign_hosts.in_sight

    async def look_then_move(session, host_ids, teams):
        found = await look(session, host_ids, teams)
        if hosts[-1] in host_ids:
            async with database.sessions().begin() as another:
                await another.execute(update(Host).where(col(Host.id) == hosts[-1]).values(team_id=other))
        return found

    monkeypatch.setattr(campaign_hosts, "in_sight", look_then_move)
    async with watching(member, number) as viewer:
        results = await viewer.results(HOSTS - 1)
        await live_query.end(number)
        behind_them = await viewer.next()

    assert [result["host"]["id"] for result in results] == hosts[:-1]
    assert behind_them["type"] != "result"

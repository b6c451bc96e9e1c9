"""What hosts said that a viewer may not see by now is sent to nobody, whichever way results are asked for."""

from __future__ import annotations

import pytest
from admin_api.routes import campaign_feed, campaign_watch
from flotilla_common import campaign_archive
from flotilla_common.db.models.admin_api import UserTeam
from flotilla_common.db.models.inventory import Host
from flotilla_common.testing.waiting import eventually
from sqlalchemy import delete, update
from sqlmodel import col

from .archiving import Archivist


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(campaign_feed, "NEWS_SECONDS", 0.1)
    monkeypatch.setattr(campaign_watch, "CHECK_SECONDS", 0.05)


@pytest.fixture
async def teams(make_team):
    return [await make_team("Own"), await make_team("Foreign")]


@pytest.fixture
async def member(make_user, teams):
    return await make_user("maintainer", teams[0])


@pytest.fixture
def write(database):
    """Change what inventory or admin-api keep."""

    async def change(statement):
        async with database.sessions().begin() as session:
            await session.execute(statement)

    return change


def moved(host, team):
    return update(Host).where(col(Host.id) == host).values(team_id=team)


@pytest.fixture
async def mixed(fleet, teams, member, live_query, write):
    """A member's campaign of four hosts, the last of them deleted, the second of another team by now."""
    hosts = [await fleet.host(name, teams[0]) for name in "abcd"]
    number = await live_query.campaign(hosts, member.user_id)
    await write(moved(hosts[1], teams[1]))
    await write(delete(Host).where(col(Host.id) == hosts[3]))
    return number, hosts


async def hosts_until_finished(viewer):
    """The hosts of the results that a viewer is sent, and the status that says that they are all."""
    seen = []
    while (found := await viewer.next())["data"].get("status") != "finished":
        seen += [found["data"]["host"]["id"]] if found["type"] == "result" else []
    return seen, found["data"]


@pytest.mark.parametrize("outcome", ["answered", "failed"])
async def test_answers_of_hosts_out_of_sight_are_counted_and_not_sent(
    mixed, admin, member, live_query, watching, outcome
):
    number, hosts = mixed
    for host in hosts:
        await live_query.answer(number, host, outcome=outcome, error="" if outcome == "answered" else "no table")
    await live_query.end(number)

    async with watching(member, number) as viewer:
        seen, status = await hosts_until_finished(viewer)
    async with watching(admin, number) as viewer:
        whole, _ = await hosts_until_finished(viewer)

    with_results = 2 if outcome == "answered" else 0
    assert seen == [hosts[0], hosts[2]]
    assert (status["actual_results"], status["count_of_hosts_with_results"]) == (4, with_results)
    assert status["count_of_hosts_with_no_results"] == 0
    assert whole == hosts


async def test_a_host_that_moves_while_somebody_watches_is_shown_no_more(
    fleet, teams, member, live_query, watching, write
):
    hosts = [await fleet.host(name, teams[0]) for name in "abc"]
    number = await live_query.campaign(hosts, member.user_id)

    async with watching(member, number) as viewer:
        await live_query.answer(number, hosts[0])
        await viewer.results(1)
        await write(moved(hosts[1], teams[1]))
        for host in hosts[1:]:
            await live_query.answer(number, host)
        [result] = await viewer.results(1)

    assert result["host"]["id"] == hosts[2]


async def test_a_team_that_the_viewer_leaves_is_shown_no_more(
    database, fleet, teams, live_query, watching, make_user, write, monkeypatch
):
    viewer_of_both = await make_user("maintainer", teams[0])
    await database.add(UserTeam(user_id=viewer_of_both.user_id, team_id=teams[1], role="maintainer"))
    own, foreign, other = [await fleet.host(name, teams[team]) for name, team in (("a", 0), ("b", 1), ("c", 0))]
    number = await live_query.campaign([own, foreign, other], viewer_of_both.user_id)
    seen = []
    see = campaign_feed.CampaignFeed.see
    monkeypatch.setattr(
        campaign_feed.CampaignFeed, "see", lambda feed, found: (seen.append(found), see(feed, found))[1]
    )

    async with watching(viewer_of_both, number) as viewer:
        await live_query.answer(number, own)
        await viewer.results(1)
        await write(delete(UserTeam).where(col(UserTeam.team_id) == teams[1]))
        await eventually(lambda: frozenset([teams[0]]) in seen)
        for host in (foreign, other):
            await live_query.answer(number, host)
        [result] = await viewer.results(1)

    assert result["host"]["id"] == other


@pytest.mark.parametrize("archived", [(), (1, 1, 2), (2,), (4,)])
async def test_who_goes_on_is_told_the_same_status_wherever_answers_are(
    mixed, member, live_query, watching, deps, archived, monkeypatch
):
    monkeypatch.setattr(campaign_archive, "GROUP_BYTES", 100)  # an answer each
    number, hosts = mixed
    for host in hosts:
        await live_query.answer(number, host)
    await live_query.end(number)
    async with watching(member, number) as viewer:
        last = [await viewer.next("result") for _ in range(2)][-1]["position"]
        _, whole = await hosts_until_finished(viewer)
    for answers in archived:
        await Archivist(live_query, deps.blobs).segment(number, answers)

    async with watching(member, number, last=last) as viewer:
        seen, status = await hosts_until_finished(viewer)

    assert seen == []
    assert status == whole
    assert (status["actual_results"], status["count_of_hosts_with_results"]) == (4, 2)


async def test_a_run_that_is_waited_for_leaves_out_a_host_that_moved_before_it_answered(
    ask, fleet, teams, member, live_query, write
):
    hosts = [await fleet.host(name, teams[0]) for name in "ab"]
    query = await fleet.query("Ports", team_id=teams[0], author_id=member.user_id)

    async def play(campaign_id, host_ids):
        await write(moved(hosts[1], teams[1]))
        for host_id in host_ids:
            await live_query.answer(campaign_id, host_id)

    live_query.script = play

    answer = (await ask(member, f"POST /queries/{query}/run", {"host_ids": hosts})).json()

    assert [result["host_id"] for result in answer["results"]] == [hosts[0]]
    assert (answer["targeted_host_count"], answer["responded_host_count"]) == (2, 1)

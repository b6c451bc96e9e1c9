"""Beside the feed: live-query hears who is watching, and viewers lose their sight with their rights."""

from __future__ import annotations

from datetime import timedelta

import pytest
from admin_api.domain import campaign_views
from admin_api.domain.campaign_views import CampaignViews
from admin_api.routes import campaign_watch
from flotilla_common.db.models.admin_api import LoginSession, Query, User, UserTeam
from flotilla_common.db.models.inventory import Host
from flotilla_common.testing.waiting import eventually
from sqlalchemy import delete, update
from sqlmodel import col


@pytest.fixture
def quick_checks(monkeypatch):
    """Logins and rights are looked at as often as a test can wait for."""
    monkeypatch.setattr(campaign_watch, "CHECK_SECONDS", 0.05)


async def test_live_query_hears_of_a_viewer_at_once(fleet, admin, live_query, watching):
    campaign = await live_query.campaign([await fleet.host("a")])

    async with watching(admin, campaign):
        await eventually(lambda: [event.campaign_id for event in live_query.viewed] == [campaign])


async def test_live_query_hears_again_and_again_while_somebody_watches(
    fleet, admin, live_query, watching, quick_checks, monkeypatch
):
    monkeypatch.setattr(campaign_views, "VIEWED_SECONDS", 0.1)
    campaign = await live_query.campaign([await fleet.host("a")])

    async with watching(admin, campaign):
        await eventually(lambda: len(live_query.viewed) >= 4)


async def test_viewers_of_one_campaign_speak_with_one_voice_after_their_first_words(
    fleet, admin, live_query, watching, quick_checks
):
    campaign = await live_query.campaign([await fleet.host("a")])

    async with watching(admin, campaign) as first, watching(admin, campaign) as second:
        for viewer in (first, second):
            await viewer.next("status")
        await eventually(lambda: len(live_query.viewed) == 2)
        await live_query.end(campaign)
        for viewer in (first, second):
            await viewer.next("status")

    assert len(live_query.viewed) == 2


async def test_an_ended_campaign_is_not_kept_alive(fleet, admin, live_query, watching, quick_checks, monkeypatch):
    campaign = await live_query.campaign([await fleet.host("a")])
    await live_query.end(campaign)

    async with watching(admin, campaign) as viewer:
        while (await viewer.next("status"))["data"]["status"] != "finished":
            pass
        heard = len(live_query.viewed)
        monkeypatch.setattr(campaign_views, "VIEWED_SECONDS", 0.0)
        other = await live_query.campaign([1])
        async with watching(admin, other):
            await eventually(lambda: len([event for event in live_query.viewed if event.campaign_id == other]) > 5)

    assert len([event for event in live_query.viewed if event.campaign_id == campaign]) == heard


def test_a_view_is_due_at_first_and_after_its_time():
    views = CampaignViews()

    assert views.is_due(1, 5.0)
    views.note(1, 5.0)
    assert not views.is_due(1, 14.9)
    assert views.is_due(1, 15.0)
    assert views.is_due(2, 5.0)


def test_old_views_are_forgotten():
    views = CampaignViews()
    for number in range(5_000):
        views.note(number, float(number))

    assert len(views._told) <= campaign_views._KEPT + 1


async def test_logging_out_closes_the_socket(ask, fleet, admin, live_query, watching, quick_checks):
    campaign = await live_query.campaign([await fleet.host("a")])

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        assert (await ask(admin, "POST /logout")).status_code == 200
        error = await viewer.next("error")
        await viewer.closed()

    assert error["data"] == "unauthorized"


async def test_a_login_that_runs_out_closes_the_socket_since_watching_is_no_use(
    fleet, admin, live_query, watching, quick_checks, clock, database
):
    campaign = await live_query.campaign([await fleet.host("a")])

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        clock.ahead = timedelta(days=4)
        [login] = await database.rows(LoginSession)
        before = login.accessed_at
        await eventually(lambda: len(live_query.viewed) >= 1)
        clock.ahead = timedelta(days=6)
        error = await viewer.next("error")

    [login] = await database.rows(LoginSession)
    assert error["data"] == "unauthorized"
    assert login.accessed_at == before


CHANGES = {
    "the user is removed": (delete(LoginSession), "unauthorized"),
    "the password must be changed": (update(User).values(force_password_reset=True), "unauthorized"),
    "the role is taken": (delete(UserTeam), "forbidden"),
    "the role is lowered": (update(UserTeam).values(role="gitops"), "forbidden"),
    "observers may not run the query any more": (update(Query).values(observer_can_run=False), "forbidden"),
    "a target leaves the team": (update(Host).where(col(Host.hostname) == "b").values(team_id=None), "forbidden"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_viewer_loses_sight_with_the_right_to_it(
    fleet, live_query, watching, quick_checks, make_user, make_team, database, change
):
    team = await make_team("Own")
    hosts = [await fleet.host("a", team), await fleet.host("b", team)]
    query = await fleet.query("shared", observer_can_run=True)
    campaign = await live_query.campaign(hosts, 1, query)
    observer = await make_user("observer", team)
    statement, text = CHANGES[change]

    async with watching(observer, campaign) as viewer:
        await viewer.next("status")
        async with database.sessions().begin() as session:
            await session.execute(statement)
        error = await viewer.next("error")
        await viewer.closed()

    assert error["data"] == text

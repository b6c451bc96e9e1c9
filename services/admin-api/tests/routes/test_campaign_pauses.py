"""Live queries are paused and go on: who may, and what is seen of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flotilla_common.contracts.campaigns import PauseCampaignV1
from flotilla_common.db.models.admin_api import UserTeam
from flotilla_common.db.models.inventory import Host
from flotilla_common.errors import Conflict
from sqlalchemy import delete, update
from sqlmodel import col


@pytest.fixture
async def teams(make_team) -> tuple[int, int]:
    return await make_team("Own"), await make_team("Foreign")


async def test_a_pause_and_its_reason_are_shown_until_it_goes_on(ask, fleet, admin, live_query):
    campaign = await live_query.campaign([await fleet.host("a")])
    path = f"/campaigns/{campaign}"

    answers = [await ask(admin, f"POST {path}/pause", {"reason": "too many rows"})]
    paused = (await ask(admin, f"GET {path}")).json()["campaign"]
    listed = (await ask(admin, "GET /campaigns")).json()["campaigns"][0]
    answers.append(await ask(admin, f"POST {path}/resume"))
    resumed = (await ask(admin, f"GET {path}")).json()["campaign"]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {}), (200, {})]
    assert live_query.paused == [
        PauseCampaignV1(campaign_id=campaign, paused=True, reason="too many rows"),
        PauseCampaignV1(campaign_id=campaign, paused=False, reason=""),
    ]
    assert (paused["status"], paused["pause_reason"], bool(paused["paused_at"])) == (1, "too many rows", True)
    assert (listed["pause_reason"], listed["paused_at"]) == (paused["pause_reason"], paused["paused_at"])
    assert (resumed["pause_reason"], resumed["paused_at"]) == (None, None)


@pytest.mark.parametrize("what", ["pause", "resume"])
async def test_what_live_query_knows_to_be_over_has_ended_though_its_ledger_is_open(
    ask, fleet, admin, live_query, what
):
    campaign = await live_query.campaign([await fleet.host("a")])
    live_query.refusal = Conflict("the live query has ended")
    answer = await ask(admin, f"POST /campaigns/{campaign}/{what}", {"budget": {"max_rows": 5}})

    assert (answer.status_code, "the live query has ended" in answer.text) == (400, True)


async def test_one_that_has_ended_is_not_shown_as_paused(ask, fleet, admin, live_query):
    campaign = await live_query.campaign([await fleet.host("a")], paused_at=datetime.now(UTC), pause_reason="lunch")
    await live_query.complete(campaign)
    shown = (await ask(admin, f"GET /campaigns/{campaign}")).json()["campaign"]

    assert (shown["status"], shown["paused_at"], shown["pause_reason"]) == (2, None, None)


async def test_without_a_reason_it_says_who_did_it(ask, fleet, live_query, make_user, teams):
    member = await make_user("maintainer", teams[0])
    campaign = await live_query.campaign([await fleet.host("a", teams[0])], member.user_id)

    for body in ({}, {"reason": " "}):
        await ask(member, f"POST /campaigns/{campaign}/pause", body)
    await ask(member, f"POST /campaigns/{campaign}/pause")  # without a body

    assert [request.reason for request in live_query.paused] == [f"paused by {member.email}"] * 3


@pytest.mark.parametrize("what", ["pause", "resume"])
async def test_only_who_may_stop_it_may_pause_it(ask, fleet, admin, live_query, make_user, teams, what):
    member = await make_user("maintainer", teams[0])
    observer = await make_user("observer", teams[1])
    foreign = await live_query.campaign([await fleet.host("b", teams[1])])
    ended = await live_query.campaign([await fleet.host("c")])
    await live_query.complete(ended)

    for who in (member, observer):
        assert (await ask(who, f"POST /campaigns/{foreign}/{what}", {})).status_code == 403
    assert (await ask(admin, f"POST /campaigns/{ended + 1}/{what}", {})).status_code == 404
    assert (await ask(admin, f"POST /campaigns/{ended}/{what}", {})).status_code == 400
    assert (await ask(admin, f"POST /campaigns/{foreign}/pause", {"reason": "x" * 201})).status_code == 400
    assert live_query.paused == []


@pytest.fixture
def paused(live_query):
    """Start a campaign that is paused."""

    async def make(host_ids, user_id=1, **columns) -> int:
        return await live_query.campaign(host_ids, user_id, paused_at=datetime.now(UTC), **columns)

    return make


async def test_who_lost_the_right_to_ask_its_hosts_does_not_resume_an_own_one(
    ask, fleet, live_query, paused, make_user, teams, database
):
    member = await make_user("maintainer", teams[0])
    campaign = await paused([await fleet.host("a", teams[0])], member.user_id, allowed_team_ids=list(teams))
    async with database.sessions("admin_api").begin() as session:
        await session.execute(update(UserTeam).values(role="observer"))

    assert (await ask(member, f"POST /campaigns/{campaign}/resume")).status_code == 403
    assert live_query.paused == []


async def test_a_host_in_a_foreign_team_keeps_its_campaign_paused_unless_it_is_not_asked_any_more(
    ask, fleet, live_query, paused, make_user, teams, database
):
    member = await make_user("maintainer", teams[0])
    own, foreign = await fleet.host("a", teams[0]), await fleet.host("b", teams[1])
    answered = await paused([own, foreign], member.user_id, allowed_team_ids=list(teams))
    narrow = await paused([own, foreign], member.user_id, allowed_team_ids=[teams[0]])
    broad = await paused([own, foreign], member.user_id)
    await live_query.answer(answered, foreign)

    statuses = [(await ask(member, f"POST /campaigns/{one}/resume")).status_code for one in (answered, narrow, broad)]
    async with database.sessions("inventory").begin() as session:
        await session.execute(delete(Host).where(col(Host.id) == foreign))
    statuses.append((await ask(member, f"POST /campaigns/{broad}/resume")).status_code)

    assert statuses == [200, 200, 403, 200]


async def test_what_the_policy_denies_by_now_is_not_resumed(ask, fleet, admin, live_query, paused, make_user):
    sql = "SELECT result FROM curl WHERE url = 'https://a.test'"
    member = await make_user("maintainer")
    campaign = await paused([await fleet.host("a")], member.user_id, sql=sql)
    await ask(admin, "PATCH /config", {"live_query_policy": {"denied": {"maintainer": ["curl"]}}})

    refused = await ask(member, f"POST /campaigns/{campaign}/resume")
    resumed = await ask(admin, f"POST /campaigns/{campaign}/resume")

    assert refused.status_code == 403
    assert refused.json()["errors"][0]["reason"] == "the live query policy keeps the role maintainer from curl"
    assert (resumed.status_code, len(live_query.paused)) == (200, 1)


async def test_none_is_resumed_while_live_queries_are_off(ask, fleet, admin, live_query, paused):
    campaign = await paused([await fleet.host("a")])
    await ask(admin, "PATCH /config", {"server_settings": {"live_query_disabled": True}})

    assert (await ask(admin, f"POST /campaigns/{campaign}/resume")).status_code == 403
    assert live_query.paused == []


async def test_viewers_are_told_of_a_pause_and_of_the_switch(ask, fleet, admin, live_query, watching, monkeypatch):
    monkeypatch.setattr("admin_api.routes.campaign_feed.NEWS_SECONDS", 0.1)
    campaign = await live_query.campaign([await fleet.host("a")])
    seen = []
    async with watching(admin, campaign) as viewer:
        seen.append((await viewer.next("status"))["data"])
        await ask(admin, f"POST /campaigns/{campaign}/pause", {"reason": "lunch"})
        seen.append((await viewer.next("status"))["data"])
        await ask(admin, "PATCH /config", {"server_settings": {"live_query_disabled": True}})
        seen.append((await viewer.next("status"))["data"])

    assert [(data.get("pause_reason"), data.get("halted"), "paused_at" in data) for data in seen] == [
        (None, None, False),
        ("lunch", None, True),
        ("lunch", True, True),
    ]
    assert {data["status"] for data in seen} == {"pending"}


async def test_turning_the_switch_is_an_activity(ask, admin, news):
    for disabled in (True, True, False):
        await ask(admin, "PATCH /config", {"server_settings": {"live_query_disabled": disabled}})

    assert await news.activities() == [("disabled_live_queries", None), ("enabled_live_queries", None)]

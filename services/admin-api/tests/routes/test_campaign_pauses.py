"""Live queries are paused and go on: who may, and what is seen of it."""

from __future__ import annotations

import pytest
from flotilla_common.contracts.campaigns import PauseCampaignV1


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


async def test_without_a_reason_it_says_who_did_it(ask, fleet, live_query, make_user, teams):
    member = await make_user("maintainer", teams[0])
    campaign = await live_query.campaign([await fleet.host("a", teams[0])], member.user_id)

    await ask(member, f"POST /campaigns/{campaign}/pause", {})

    assert live_query.paused[0].reason == f"paused by {member.email}"


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

"""Budgets: every way to start a live query takes one, each role has its defaults and its most."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flotilla_common.contracts.campaigns import Budget
from flotilla_common.db.models.admin_api import UserTeam
from flotilla_common.db.models.live_query import CampaignBudget

WAYS = {
    "POST /queries/run": {"query_id": 1, "selected": {"hosts": [1]}},
    "POST /queries/run_by_names": {"query_id": 1, "selected": {"hosts": ["a"]}},
    "POST /queries/run_by_identifiers": {"query_id": 1, "selected": {"hosts": ["a"]}},
    "POST /queries/1/run": {"host_ids": [1]},
    "GET /queries/run": {"query_ids": [1], "host_ids": [1]},
    "POST /hosts/1/query": {"query": "SELECT 1"},
    "POST /hosts/identifier/a/query": {"query": "SELECT 1"},
}


@pytest.fixture
async def house(fleet, live_query):
    """Host 1 named `a` answers; query 1 is saved."""

    async def play(campaign_id: int, host_ids: list[int]) -> None:
        for host_id in host_ids:
            await live_query.answer(campaign_id, host_id)

    live_query.script = play
    assert (await fleet.host("a"), await fleet.query("q")) == (1, 1)
    return live_query


@pytest.fixture
def set_budgets(ask, admin):
    async def patch(**blocks) -> None:
        answer = await ask(admin, "PATCH /config", {"live_query_budgets": blocks})
        assert answer.status_code == 200, answer.text

    return patch


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_takes_a_budget_within_what_the_role_may_have(ask, house, set_budgets, make_user, way):
    await set_budgets(
        default={"maintainer": {"max_rows": 100, "max_cpu_ms": 7}},
        most={"maintainer": {"max_rows": 1000, "max_failures": 10}},
    )
    member = await make_user("maintainer")

    without = await ask(member, way, WAYS[way])
    within = await ask(member, way, {**WAYS[way], "budget": {"max_rows": 1000, "max_cpu_ms": None}})
    beyond = await ask(member, way, {**WAYS[way], "budget": {"max_rows": 1001, "max_failures": 11}})

    assert (without.status_code, within.status_code) == (200, 200)
    assert [request.budget for request in house.started] == [
        Budget(max_rows=100, max_cpu_ms=7, max_failures=10),
        Budget(max_rows=1000, max_cpu_ms=7, max_failures=10),
    ]
    reason = "the role maintainer may have at most 1000"
    if way == "GET /queries/run":
        assert beyond.json()["live_query_results"][0]["error"] == f"budget.max_rows: {reason}"
    else:
        assert beyond.status_code == 422
        assert beyond.json()["errors"] == [
            {"name": "budget.max_rows", "reason": reason},
            {"name": "budget.max_failures", "reason": "the role maintainer may have at most 10"},
        ]


async def test_nobody_is_limited_unless_the_config_says_so(ask, house, admin):
    await ask(admin, "POST /queries/run", WAYS["POST /queries/run"])

    assert house.started[0].budget == Budget()


async def test_of_several_roles_the_strictest_limits_hold(
    ask, fleet, live_query, set_budgets, make_user, make_team, database
):
    first, second, third = [await make_team(name) for name in ("One", "Two", "Three")]
    hosts = [await fleet.host("a", first), await fleet.host("b", second)]
    await set_budgets(
        most={"maintainer": {"max_rows": 9, "max_bytes": 5}, "observer_plus": {"max_rows": 3}, "admin": {"max_rows": 1}}
    )
    member = await make_user("maintainer", first)
    await database.add(UserTeam(user_id=member.user_id, team_id=second, role="observer_plus"))
    await ask(member, "POST /queries/run", {"query": "SELECT 1", "selected": {"hosts": hosts}})

    assert live_query.started[0].budget == Budget(max_rows=3, max_bytes=5)
    assert third not in (live_query.started[0].allowed_team_ids or ())


async def test_a_role_on_a_team_that_is_not_asked_limits_nothing(
    ask, fleet, live_query, set_budgets, make_user, make_team, database
):
    first, second = [await make_team(name) for name in ("One", "Two")]
    host, other = await fleet.host("a", first), await fleet.host("b", second)
    await set_budgets(
        default={"observer_plus": {"max_failures": 2}},
        most={"maintainer": {"max_rows": 9}, "observer_plus": {"max_rows": 3}},
    )
    member = await make_user("maintainer", first)
    await database.add(UserTeam(user_id=member.user_id, team_id=second, role="observer_plus"))
    for selected in ({"teams": [first]}, {"hosts": [host]}, {"teams": [second]}):
        await ask(member, "POST /queries/run", {"query": "SELECT 1", "selected": selected})
    both = await live_query.campaign(
        [host, other], member.user_id, None, Budget(max_rows=1), paused_at=datetime.now(UTC)
    )
    more = {"budget": {"max_rows": 8}}
    refused = await ask(member, f"POST /campaigns/{both}/resume", more)
    await live_query.answer(both, other)
    resumed = await ask(member, f"POST /campaigns/{both}/resume", more)

    assert [request.budget for request in live_query.started] == [
        Budget(max_rows=9),
        Budget(max_rows=9),
        Budget(max_rows=3, max_failures=2),
    ]
    assert (refused.status_code, resumed.status_code) == (422, 200)


NONSENSE = [
    {"max_rows": -1},
    {"max_rows": "9"},
    {"max_rows": 1.5},
    {"max_row": 9},
    {"hosts_at_a_time": 0},
    {"max_rows": 2**60},
    7,
]


@pytest.mark.parametrize("budget", NONSENSE)
async def test_a_budget_that_makes_no_sense_starts_nothing(ask, house, admin, budget):
    answer = await ask(admin, "POST /queries/run", {**WAYS["POST /queries/run"], "budget": budget})

    assert answer.status_code in {400, 422}
    assert house.started == []


@pytest.mark.parametrize(
    ("way", "body", "name", "reason"),
    [
        ("run", {"budget": {"max_rows": "5"}}, "budget.max_rows", "Input should be a valid integer"),
        ("run", {"budget": {"max_rows": 5.0}}, "budget.max_rows", "Input should be a valid integer"),
        ("run", {"budget": {"max_rows": True}}, "budget.max_rows", "Input should be a valid integer"),
        ("run", {"budget": {"max_row" + "s" * 300: 5}}, "budget.max_rows", "Extra inputs are not permitted"),
        ("run", {"deadline": 5}, "deadline", "Input should be a valid string"),
        ("pause", {"reason": "x" * 201}, "reason", "String should have at most 200 characters"),
    ],
)
async def test_what_is_wrong_with_a_body_is_told_by_name(ask, house, admin, way, body, name, reason):
    if way == "run":
        answer = await ask(admin, "POST /queries/run", {**WAYS["POST /queries/run"], **body})
    else:
        answer = await ask(admin, f"POST /campaigns/{await house.campaign([1])}/pause", body)
    base, member = answer.json()["errors"]

    assert (answer.status_code, answer.json()["message"], base["reason"]) == (400, *["json decoder error"] * 2)
    assert (member["name"][: len(name)], member["reason"]) == (name, reason)
    assert len(member["name"]) <= 200


async def test_what_it_may_cost_and_has_cost_is_shown_beside_campaign_and_ledger(
    ask, fleet, admin, live_query, database
):
    campaign = await live_query.campaign([await fleet.host("a")])
    await database.add(CampaignBudget(campaign_id=campaign, max_rows=5, rows=4, cpu_ms=9))
    older = await live_query.campaign([1])
    answers = [(await ask(admin, f"GET /campaigns/{campaign}{path}")).json() for path in ("", "/ledger")]
    without = (await ask(admin, f"GET /campaigns/{older}")).json()["campaign"]

    limits = dict.fromkeys(Budget.model_fields)
    spent = {"rows": 4, "bytes": 0, "cpu_ms": 9, "failures": 0, "denylisted": 0}
    for shown in (answers[0]["campaign"], answers[1]):
        assert (shown["budget"], shown["spent"]) == ({**limits, "max_rows": 5}, spent)
    assert (without["budget"], without["spent"]) == (limits, dict.fromkeys(spent, 0))


async def test_a_resume_may_raise_limits_as_far_as_the_role_may(ask, fleet, live_query, set_budgets, make_user):
    await set_budgets(most={"maintainer": {"max_rows": 10, "max_bytes": 50}})
    member = await make_user("maintainer")
    campaign = await live_query.campaign(
        [await fleet.host("a")],
        member.user_id,
        None,
        Budget(max_rows=5, max_failures=1, max_bytes=99),
        paused_at=datetime.now(UTC),
    )
    refused = await ask(member, f"POST /campaigns/{campaign}/resume", {"budget": {"max_rows": 11}})
    raised = await ask(member, f"POST /campaigns/{campaign}/resume", {"budget": {"max_rows": 10, "max_failures": 2}})

    assert (refused.status_code, raised.status_code) == (422, 200)
    assert refused.json()["errors"] == [
        {"name": "budget.max_rows", "reason": "the role maintainer may have at most 10"}
    ]
    [request] = live_query.paused
    assert request.budget == Budget(max_rows=10, max_failures=2, max_bytes=50)


async def test_a_resume_without_limits_leaves_them(ask, fleet, admin, live_query):
    campaign = await live_query.campaign([await fleet.host("a")], 1, None, Budget(max_rows=5))
    await ask(admin, f"POST /campaigns/{campaign}/resume")

    assert live_query.paused[0].budget is None


async def test_the_config_takes_sensible_budgets_alone_and_says_who_changed_them(ask, admin, news):
    bad = [
        {"most": {"observer": {"max_rows": -1}}},
        {"most": {"observer": {"max_rows": "5"}}},
        {"most": {"nobody": {"max_rows": 5}}},
        {"default": {"observer": {"max_rows": 6}}, "most": {"observer": {"max_rows": 5}}},
    ]
    statuses = [(await ask(admin, "PATCH /config", {"live_query_budgets": block})).status_code for block in bad]
    good = {"default": {"observer": {"max_rows": 5}}, "most": {"observer": {"max_rows": 5}}}
    await ask(admin, "PATCH /config", {"live_query_budgets": good})
    taken_back = await ask(
        admin, "PATCH /config", {"live_query_budgets": {"default": {"observer": {"max_rows": None}}}}
    )

    assert statuses == [400, 400, 400, 422]
    [(kind, first), (_, second)] = await news.activities()
    assert (kind, first["most"]["observer"]["max_rows"]) == ("edited_live_query_budgets", 5)
    assert second["default"]["observer"]["max_rows"] is None
    assert taken_back.json()["live_query_budgets"]["most"]["observer"]["max_rows"] == 5


async def test_how_many_hosts_at_a_time_is_a_limit_of_the_start_that_a_resume_can_only_change(
    ask, fleet, live_query, set_budgets, make_user
):
    await set_budgets(most={"maintainer": {"hosts_at_a_time": 50}})
    member, host = await make_user("maintainer"), await fleet.host("a")
    body = {"query": "SELECT 1", "selected": {"hosts": [host]}}
    statuses = [
        (await ask(member, "POST /queries/run", {**body, "budget": {"hosts_at_a_time": number}})).status_code
        for number in (0, 10, 51)
    ]
    started = await ask(member, "POST /queries/run", body)
    at_once = await live_query.campaign([host], member.user_id, None, Budget(), paused_at=datetime.now(UTC))
    changed = {"budget": {"hosts_at_a_time": 20}}
    resumed = [
        (await ask(member, f"POST /campaigns/{number}/resume", changed)).status_code
        for number in (started.json()["campaign"]["id"], at_once)
    ]

    assert [status == 200 for status in statuses] == [False, True, False]
    assert [request.budget for request in live_query.started] == [
        Budget(hosts_at_a_time=10),
        Budget(hosts_at_a_time=50),
    ]
    assert resumed == [200, 422]
    assert [request.budget for request in live_query.paused] == [Budget(hosts_at_a_time=20)]

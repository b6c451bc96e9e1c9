"""Live queries that answer in the same request."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from dataclasses import replace

import pytest
from admin_api.domain.viewer import Viewer
from admin_api.routes import live_answers
from admin_api.routes.pretty import pretty_parts
from flotilla_common.contracts.campaigns import CampaignStartedV1, PauseCampaignV1, StopCampaignV1, TargetCounts
from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.db.models.admin_api import Query

from .conftest import LONG_AGO

SQL = "SELECT port FROM listening_ports"


@pytest.fixture
def wait_at_most(app):
    """`wait_at_most("300ms")`: how long synchronous runs wait for those that say nothing."""

    def wait(period: str) -> None:
        deps = app.state.deps
        settings = deps.settings.model_copy(update={"live_query_rest_period": period})
        app.state.deps = replace(deps, settings=settings)

    return wait


@pytest.fixture
def answering(live_query):
    """Let all hosts answer: `answering(rows)`."""

    def let(rows=({"port": "22"},), **fields: str):
        async def play(campaign_id: int, host_ids: list[int]) -> None:
            for host_id in host_ids:
                await live_query.answer(campaign_id, host_id, rows, **fields)

        live_query.script = play

    return let


async def test_a_saved_query_is_answered_as_soon_as_all_hosts_have(ask, fleet, admin, live_query, answering):
    hosts, query = [await fleet.host("a"), await fleet.host("b")], await fleet.query("Ports", query=SQL)
    answering()
    began = time.monotonic()

    answer = await ask(admin, f"POST /queries/{query}/run", {"host_ids": hosts})

    body = answer.json()
    assert answer.status_code == 200
    assert (body["query_id"], body["targeted_host_count"], body["responded_host_count"]) == (query, 2, 2)
    assert body["results"] == [{"host_id": host, "rows": [{"port": "22"}], "error": None} for host in hosts]
    assert time.monotonic() - began < 20  # the wait is 25 s
    assert (live_query.started[0].kind, live_query.started[0].wait_seconds) == ("synchronous", 25.0)


async def test_a_campaign_that_was_waited_for_is_over(ask, fleet, admin, live_query, answering):
    host, query = await fleet.host("a"), await fleet.query("Ports")
    answering()

    await ask(admin, f"POST /queries/{query}/run", {"host_ids": [host]})

    assert live_query.stopped == [StopCampaignV1(campaign_id=1, reason="complete")]


async def test_the_wait_ends_with_what_came(ask, fleet, admin, live_query, wait_at_most):
    wait_at_most("4s")
    hosts, query = [await fleet.host("a"), await fleet.host("b")], await fleet.query("Ports")
    live_query.script = lambda campaign_id, host_ids: live_query.answer(campaign_id, host_ids[1])

    body = (await ask(admin, f"POST /queries/{query}/run", {"host_ids": hosts})).json()

    assert (body["targeted_host_count"], body["responded_host_count"]) == (2, 1)
    assert [result["host_id"] for result in body["results"]] == [hosts[1]]
    assert live_query.started[0].wait_seconds == 4.0
    assert len(live_query.stopped) == 1


async def test_nobody_answered_is_an_empty_list(ask, fleet, admin, live_query, wait_at_most):
    wait_at_most("300ms")
    host, query = await fleet.host("a"), await fleet.query("Ports")

    answer = await ask(admin, f"POST /queries/{query}/run", {"host_ids": [host]})

    assert (answer.status_code, answer.json()["results"]) == (200, [])


async def test_the_end_of_a_campaign_ends_the_wait(ask, fleet, admin, live_query):
    host, query = await fleet.host("a"), await fleet.query("Ports")
    live_query.script = lambda campaign_id, _: live_query.end(campaign_id, "stopped")

    answer = await asyncio.wait_for(ask(admin, f"POST /queries/{query}/run", {"host_ids": [host]}), 20)

    assert answer.json()["responded_host_count"] == 0


async def test_hosts_that_failed_say_why(ask, fleet, admin, live_query, answering):
    host, query = await fleet.host("a"), await fleet.query("Ports")
    answering([], outcome="failed", error="no such table: listening_ports")

    body = (await ask(admin, f"POST /queries/{query}/run", {"host_ids": [host]})).json()

    assert body["results"] == [{"host_id": host, "rows": [], "error": "no such table: listening_ports"}]
    assert body["responded_host_count"] == 1


async def test_the_wait_ends_with_a_pause_and_says_why(ask, fleet, admin, live_query, monkeypatch):
    monkeypatch.setattr(live_answers, "LOOK_SECONDS", 0.1)
    hosts, query = [await fleet.host("a"), await fleet.host("b")], await fleet.query("Ports")
    why = "over budget: max_rows is 0, 1 came"

    async def play(campaign_id: int, host_ids: list[int]) -> None:
        if len(host_ids) > 1:
            await live_query.answer(campaign_id, host_ids[0])
        await live_query.on_pause(PauseCampaignV1(campaign_id=campaign_id, paused=True, reason=why), None)

    live_query.script = play
    began = time.monotonic()

    by_id = (await ask(admin, f"POST /queries/{query}/run", {"host_ids": hosts})).json()
    [old] = (await ask(admin, "GET /queries/run", {"query_ids": [query], "host_ids": hosts})).json()[
        "live_query_results"
    ]
    single = (await ask(admin, f"POST /hosts/{hosts[0]}/query", {"query": SQL})).json()

    assert time.monotonic() - began < 60  # each wait is 25 s
    assert (by_id["responded_host_count"], by_id["pause_reason"]) == (1, why)
    assert by_id["paused_at"].endswith("Z")
    assert (len(old["results"]), old["pause_reason"]) == (1, why)
    assert (single["rows"], single["error"], single["pause_reason"]) == (None, f"the live query was paused: {why}", why)
    assert {stopped.reason for stopped in live_query.stopped} == {"stopped"}


async def test_the_wait_ends_with_the_switch_of_all(ask, fleet, admin, live_query, monkeypatch):
    monkeypatch.setattr(live_answers, "LOOK_SECONDS", 0.1)
    hosts = [await fleet.host("a")]

    async def turn_off(*_: object) -> None:
        settings = {"server_settings": {"live_query_disabled": True}}
        assert (await ask(admin, "PATCH /config", settings)).status_code == 200

    live_query.script = turn_off

    answer = await asyncio.wait_for(ask(admin, f"POST /hosts/{hosts[0]}/query", {"query": SQL}), 20)

    assert answer.status_code == 200
    assert (answer.json()["error"], answer.json()["halted"]) == ("live queries are disabled", True)
    assert [stopped.reason for stopped in live_query.stopped] == ["stopped"]


async def test_more_rows_than_are_held_are_read_again(ask, fleet, admin, live_query, monkeypatch):
    monkeypatch.setattr(live_answers, "HELD_BYTES", 100)
    hosts, query = [await fleet.host(f"h{number}") for number in range(20)], await fleet.query("Ports")

    async def play(campaign_id: int, host_ids: list[int]) -> None:
        for host_id in host_ids:
            outcome, error = ("failed", "no such table") if host_id == host_ids[3] else ("answered", "")
            await live_query.answer(campaign_id, host_id, [{"of": str(host_id)}] * 2, outcome, error=error)

    live_query.script = play

    body = (await ask(admin, f"POST /queries/{query}/run", {"host_ids": hosts})).json()
    several = (await ask(admin, "GET /queries/run", {"query_ids": [query], "host_ids": hosts})).json()

    assert [result["host_id"] for result in body["results"]] == hosts
    assert body["results"][3] == {"host_id": hosts[3], "rows": [], "error": "no such table"}
    assert all(
        result["rows"] == [{"of": str(result["host_id"])}] * 2 for result in body["results"] if not result["error"]
    )
    assert several["live_query_results"][0]["results"] == body["results"]


async def test_answers_that_are_gone_before_they_are_sent_are_no_whole_answer(
    ask, fleet, admin, live_query, answering, monkeypatch
):
    monkeypatch.setattr(live_answers, "HELD_BYTES", 20)
    hosts, query = [await fleet.host(name) for name in "ab"], await fleet.query("Ports")
    answering()

    async def end(campaign_id: int, reason: str = "complete") -> None:
        await live_query.redis.delete(campaign_rows(campaign_id))

    monkeypatch.setattr(live_query, "end", end)

    answer = await ask(admin, f"POST /queries/{query}/run", {"host_ids": hosts})

    assert answer.status_code == 503


async def test_megabytes_of_many_hosts_are_neither_held_nor_in_the_way_of_others(fleet, admin, live_query, deps, clock):
    hosts = [await fleet.host(f"h{number}") for number in range(30)]
    number = await live_query.campaign(hosts)
    text = json.dumps([{f"c{column}": "v" * 20 for column in range(8)} for _ in range(3500)]).encode()
    for host in hosts:
        await live_query.answer(number, host, text)
    counts = TargetCounts(total=len(hosts), online=len(hosts), offline=0, missing_in_action=0, new=0)
    viewer = Viewer(1, "Ann", "ann@acme.test", "admin")
    tracemalloc.start()
    try:
        answers = await live_answers.collect(
            deps, viewer, CampaignStartedV1(campaign_id=number, created_at=clock(), counts=counts)
        )
        parts = pretty_parts({"results": answers.objects()}, str)
        sizes = [len(part) async for part in parts]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sum(sizes) > len(hosts) * len(text)  # 25 MB
    assert max(sizes) < 1024 * 1024
    assert peak < 24 * 1024 * 1024  # what one read of eight answers takes, twice


@pytest.mark.parametrize(
    ("what", "body", "status", "reason"),
    [
        ("POST /queries/1/run", {}, 400, "query_ids and host_ids are required"),
        ("POST /queries/1/run", {"host_ids": []}, 400, "query_ids and host_ids are required"),
        ("POST /queries/1/run", None, 400, "Expected JSON Body"),
        ("POST /queries/99/run", {"host_ids": [1]}, 404, "Query 99 was not found in the datastore"),
        ("POST /queries/1/run", {"host_ids": [99]}, 400, "no hosts targeted"),
        ("GET /queries/run", {"host_ids": [1]}, 400, "query_ids and host_ids are required"),
        ("GET /queries/run", {"query_ids": list(range(1, 30)), "host_ids": [1]}, 400, "at most 20 queries"),
        ("POST /hosts/1/query", {"query": " "}, 400, "query is required"),
        ("POST /hosts/99/query", {"query": SQL}, 400, "host not found: 99"),
        ("POST /hosts/identifier/nobody/query", {"query": SQL}, 400, "host not found: nobody"),
    ],
)
async def test_what_cannot_be_run_is_refused(ask, fleet, admin, live_query, what, body, status, reason):
    await fleet.host("a")
    await fleet.query("Ports")

    answer = await ask(admin, what, body)

    assert answer.status_code == status
    assert reason in answer.json()["errors"][0]["reason"]
    assert live_query.started == []


async def test_several_queries_at_once_the_old_way(ask, fleet, admin, live_query, answering):
    hosts = [await fleet.host("a"), await fleet.host("b")]
    first, second = await fleet.query("One"), await fleet.query("Two")
    answering()

    body = (await ask(admin, "GET /queries/run", {"query_ids": [first, second, 99, first], "host_ids": hosts})).json()

    assert body["summary"] == {"targeted_host_count": 2, "responded_host_count": 2}
    assert [result["query_id"] for result in body["live_query_results"]] == [first, second, 99]
    assert [len(result["results"]) for result in body["live_query_results"]] == [2, 2, 0]
    assert "was not found" in body["live_query_results"][2]["error"]


async def test_one_host_is_asked_new_sql(ask, fleet, admin, live_query, answering, database):
    host = await fleet.host("db-1")
    answering()

    by_id = (await ask(admin, f"POST /hosts/{host}/query", {"query": SQL})).json()
    by_name = (await ask(admin, "POST /hosts/identifier/DB-1/query", {"query": SQL})).json()

    assert by_id == {"host_id": host, "rows": [{"port": "22"}], "query": SQL, "status": "online"}
    assert by_name == by_id
    assert {(query.saved, query.query) for query in await database.rows(Query)} == {(False, SQL)}


async def test_an_offline_host_is_not_waited_for(ask, fleet, admin, live_query):
    host = await fleet.host("a", seen=LONG_AGO)

    body = (await ask(admin, f"POST /hosts/{host}/query", {"query": SQL})).json()

    assert body == {"host_id": host, "rows": None, "query": SQL, "status": "offline"}
    assert live_query.started == []


async def test_a_host_that_says_nothing_in_time(ask, fleet, admin, live_query, wait_at_most):
    wait_at_most("300ms")
    host = await fleet.host("a")

    answer = await ask(admin, f"POST /hosts/{host}/query", {"query": SQL})

    assert (answer.status_code, answer.json()["error"]) == (200, "timeout waiting for results")


async def test_a_host_that_fails_is_no_failure_of_the_request(ask, fleet, admin, live_query, answering):
    host = await fleet.host("a")
    answering([], outcome="denylisted", error="distributed query is denylisted")

    answer = await ask(admin, f"POST /hosts/{host}/query", {"query": SQL})

    assert (answer.status_code, answer.json()["error"]) == (200, "distributed query is denylisted")


RUNS = {"admin": "YYY", "maintainer": "YYY", "observer_plus": "YYY", "observer": "Y--", "gitops": "---"}
"""Per role: a query that observers may run, one that they may not, new SQL."""


@pytest.mark.parametrize("role", RUNS)
async def test_which_members_ask_which_hosts_what(ask, fleet, live_query, answering, make_user, make_team, role):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    mine, theirs = await fleet.host("a", own), await fleet.host("b", foreign)
    shared, closed = await fleet.query("shared", observer_can_run=True), await fleet.query("closed")
    member = await make_user(role, own, api_only=role == "gitops")
    answering()

    async def run(host: int) -> str:
        answers = [
            await ask(member, f"POST /queries/{shared}/run", {"host_ids": [host]}),
            await ask(member, f"POST /queries/{closed}/run", {"host_ids": [host]}),
            await ask(member, f"POST /hosts/{host}/query", {"query": SQL}),
        ]
        return "".join({200: "Y", 403: "-", 400: "n"}[answer.status_code] for answer in answers)

    assert await run(mine) == RUNS[role]
    # A foreign host is not targeted by a saved query (400), and may not be asked by its number (403).
    assert await run(theirs) == RUNS[role].replace("YYY", "nn-").replace("Y--", "n--")
    assert {request.allowed_team_ids for request in live_query.started} <= {(own,)}
    assert (await ask(member, "POST /hosts/identifier/b/query", {"query": SQL})).status_code == 403


async def test_members_get_answers_of_their_own_hosts_only(ask, fleet, live_query, answering, make_user, make_team):
    own = await make_team("Own")
    mine, theirs = await fleet.host("a", own), await fleet.host("b")
    query = await fleet.query("shared", observer_can_run=True)
    member = await make_user("observer", own)
    answering()

    body = (await ask(member, f"POST /queries/{query}/run", {"host_ids": [mine, theirs]})).json()

    assert (body["targeted_host_count"], [result["host_id"] for result in body["results"]]) == (1, [mine])

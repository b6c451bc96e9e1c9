"""Live queries started, shown and stopped: who may run what on which hosts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flotilla_common.contracts.campaigns import Budget, StopCampaignV1
from flotilla_common.contracts.labels import ALL_HOSTS
from flotilla_common.db.models.admin_api import AppConfig, Query
from flotilla_common.db.models.live_query import LedgerRow
from flotilla_common.errors import Invalid
from sqlalchemy import event, update
from sqlmodel import col

SQL = "SELECT pid FROM processes"
ROLES = ["admin", "maintainer", "observer_plus", "observer", "gitops"]


@pytest.fixture
async def teams(make_team) -> tuple[int, int]:
    return await make_team("Own"), await make_team("Foreign")


@pytest.fixture
async def turned_off(database):
    """An administrator has turned live queries off."""
    async with database.sessions().begin() as session:
        config = await session.get(AppConfig, 1)
        config.document = {**config.document, "server_settings": {"live_query_disabled": True}}


async def test_a_run_by_ids_answers_the_campaign(ask, fleet, admin, live_query):
    hosts = [await fleet.host("a"), await fleet.host("b")]
    query = await fleet.query("Ports")

    answer = await ask(admin, "POST /queries/run", {"query_id": query, "selected": {"hosts": hosts}})

    campaign = answer.json()["campaign"]
    assert answer.status_code == 200
    assert (campaign["query_id"], campaign["user_id"], campaign["status"]) == (query, 1, 0)
    assert campaign["Metrics"] == {
        "TotalHosts": 2,
        "OnlineHosts": 2,
        "OfflineHosts": 0,
        "MissingInActionHosts": 0,
        "NewHosts": 0,
    }
    assert datetime.fromisoformat(campaign["created_at"]).tzinfo is not None


async def test_a_run_asks_postgres_once_for_the_app_config_and_counts_no_hosts(ask, fleet, admin, live_query, deps):
    host = await fleet.host("a")
    said: list[str] = []
    engine = deps.sessions.kw["bind"].sync_engine
    event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))

    answer = await ask(admin, "POST /queries/run", {"query": SQL, "selected": {"hosts": [host]}})

    assert answer.status_code == 200
    assert sum("FROM admin_api.app_config" in statement for statement in said) == 1
    assert not [statement for statement in said if "count(" in statement]


async def test_ids_that_stand_for_nothing_are_named(ask, fleet, admin, live_query, teams):
    host, label = await fleet.host("a"), await fleet.label("Racks")
    selected = {"hosts": [host, 99_999], "labels": [label, 9_999], "teams": [0, teams[0], 777]}

    answer = await ask(admin, "POST /queries/run", {"query": SQL, "selected": selected})

    assert answer.status_code == 200
    assert answer.json()["warnings"] == [
        "hosts that are not there, or that you may not ask, are passed over: 99999",
        "labels that are not there are passed over: 9999",
        "teams that are not there are passed over: 777",
    ]


async def test_a_warning_names_some_ids_and_counts_the_others(ask, fleet, admin, live_query):
    selected = {"hosts": [await fleet.host("a"), *range(1_001, 1_031)]}

    answer = await ask(admin, "POST /queries/run", {"query": SQL, "selected": selected})

    [warning] = answer.json()["warnings"]
    assert warning.endswith(": " + ", ".join(map(str, range(1_001, 1_021))) + " and 10 more")


async def test_a_host_out_of_reach_is_as_one_that_is_not_there(ask, fleet, live_query, make_user, teams):
    own, foreign = await fleet.host("a", teams[0]), await fleet.host("b", teams[1])
    member = await make_user("maintainer", teams[0])

    answer = await ask(member, "POST /queries/run", {"query": SQL, "selected": {"hosts": [own, foreign]}})

    assert [warning.rpartition(": ")[2] for warning in answer.json()["warnings"]] == [str(foreign)]


async def test_live_query_gets_what_was_selected_and_how_far_the_caller_reaches(
    ask, fleet, admin, live_query, make_user, teams
):
    host = await fleet.host("a", teams[0])
    label = await fleet.label("Racks", host)
    member = await make_user("maintainer", teams[0])

    selected = {"hosts": [host], "labels": [label], "teams": [teams[0]]}
    await ask(admin, "POST /queries/run", {"query": SQL, "selected": selected})
    await ask(member, "POST /queries/run", {"query": SQL, "selected": selected})

    by_admin, by_member = live_query.started
    assert (by_admin.host_ids, by_admin.label_ids, by_admin.team_ids) == ((host,), (label,), (teams[0],))
    assert (by_admin.sql, by_admin.kind, by_admin.allowed_team_ids) == (SQL, "viewer", None)
    assert by_member.allowed_team_ids == (teams[0],)


async def test_ad_hoc_sql_is_kept_as_an_unsaved_query_and_the_run_is_remembered(
    ask, fleet, admin, live_query, news, database
):
    host = await fleet.host("a")

    answer = await ask(admin, "POST /queries/run", {"query": SQL, "selected": {"hosts": [host]}})

    [query] = await database.rows(Query)
    assert (query.id, query.query, query.saved) == (answer.json()["campaign"]["query_id"], SQL, False)
    assert query.name.startswith("distributed_ada@acme.test_")
    assert await news.activities() == [("live_query", {"targets_count": 1, "query_sql": SQL})]


async def test_the_activity_of_a_saved_query_has_its_name(ask, fleet, admin, live_query, news):
    host, query = await fleet.host("a"), await fleet.query("Ports", query=SQL)

    await ask(admin, "POST /queries/run", {"query_id": query, "selected": {"hosts": [host]}})

    details = {"targets_count": 1, "query_sql": SQL, "query_name": "Ports"}
    assert await news.activities() == [("live_query", details)]


@pytest.mark.parametrize("path", ["POST /queries/run_by_identifiers", "POST /queries/run_by_names"])
async def test_a_run_by_names_takes_any_name_of_a_host_and_names_of_labels(ask, fleet, admin, live_query, path):
    hosts = [await fleet.host(name, uuid=f"u-{name}", hardware_serial=f"s-{name}") for name in "abcde"]
    label = await fleet.label("Racks")

    names = ["A", "u-b", "S-c", "id-d", "key-of-e", "unknown", ""]
    answer = await ask(admin, path, {"query": SQL, "selected": {"hosts": names, "labels": ["racks", ""]}})

    assert answer.status_code == 200
    assert live_query.started[0].host_ids == tuple(hosts)
    assert live_query.started[0].label_ids == (label,)


async def test_names_find_only_hosts_within_reach(ask, fleet, live_query, make_user, teams):
    mine = await fleet.host("a", teams[0])
    await fleet.host("b", teams[1])
    member = await make_user("maintainer", teams[0])

    await ask(member, "POST /queries/run_by_names", {"query": SQL, "selected": {"hosts": ["a", "b"]}})

    assert live_query.started[0].host_ids == (mine,)


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("run", {"selected": {"hosts": [1]}}, 422, "one of query or query_id must be specified"),
        ("run", {"query": "  ", "selected": {"hosts": [1]}}, 422, "one of query or query_id must be specified"),
        ("run", {"query_id": 99, "selected": {"hosts": [1]}}, 404, "Query 99 was not found in the datastore"),
        ("run", {"query": SQL}, 400, "no hosts targeted"),
        ("run", {"query": SQL, "selected": {"hosts": [99]}}, 400, "no hosts targeted"),
        ("run", {"query": SQL, "selected": {"hosts": ["a"]}}, 400, "json decoder error"),
        (
            "run",
            {"query": SQL, "selected": {"hosts": [1]}, "deadline": "soon"},
            400,
            "deadline must be an RFC 3339 time",
        ),
        (
            "run",
            {"query": SQL, "selected": {"hosts": [1]}, "deadline": "2030-01-01T00:00:00"},
            400,
            "deadline must have a time zone",
        ),
        ("run", {"query": "x" * (1 << 20) + "x", "selected": {"hosts": [1]}}, 400, "longer than 1048576 characters"),
        ("run", {"query": SQL, "selected": {"hosts": list(range(100_001))}}, 400, "at most 100000 hosts"),
        ("run_by_names", {"query": SQL, "selected": {"hosts": [""], "labels": [""]}}, 400, "no hosts targeted"),
        ("run_by_names", {"query": SQL, "selected": {"hosts": ["x"]}}, 400, "no hosts targeted"),
        ("run_by_names", {"query": SQL, "selected": {"labels": ["b", "a"]}}, 400, "Invalid label name(s): a, b."),
    ],
)
async def test_what_cannot_be_run_is_refused(ask, fleet, admin, live_query, path, body, status, reason):
    await fleet.host("a")

    answer = await ask(admin, f"POST /queries/{path}", body)

    assert answer.status_code == status
    assert reason in answer.json()["errors"][0]["reason"]
    assert live_query.started == []


async def test_what_live_query_refuses_is_a_bad_request_and_leaves_nothing(
    ask, fleet, admin, live_query, news, database
):
    live_query.refusal = Invalid("deadline is out of bounds")
    host = await fleet.host("a")

    answer = await ask(admin, "POST /queries/run", {"query": SQL, "selected": {"hosts": [host]}})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["reason"] == "deadline is out of bounds"
    assert (await news.activities(), await database.rows(Query)) == ([], [])


async def test_without_live_query_the_service_is_unavailable(ask, fleet, admin):
    host = await fleet.host("a")

    answer = await ask(admin, "POST /queries/run", {"query": SQL, "selected": {"hosts": [host]}})

    assert answer.status_code == 503


async def test_a_deadline_makes_a_campaign_durable(ask, fleet, admin, live_query):
    host = await fleet.host("a")
    deadline = datetime.now(UTC) + timedelta(hours=1)

    await ask(
        admin, "POST /queries/run", {"query": SQL, "selected": {"hosts": [host]}, "deadline": deadline.isoformat()}
    )

    assert (live_query.started[0].kind, live_query.started[0].deadline) == ("durable", deadline)


async def test_live_queries_that_are_turned_off_run_nowhere(ask, fleet, admin, live_query, turned_off):
    host, query = await fleet.host("a"), await fleet.query("Ports")

    answers = [
        await ask(admin, "GET /status/live_query"),
        await ask(admin, "POST /queries/run", {"query": SQL, "selected": {"hosts": [host]}}),
        await ask(admin, "POST /queries/run_by_names", {"query_id": query, "selected": {"hosts": ["a"]}}),
        await ask(admin, f"POST /queries/{query}/run", {"host_ids": [host]}),
        await ask(admin, "GET /queries/run", {"query_ids": [query], "host_ids": [host]}),
        await ask(admin, f"POST /hosts/{host}/query", {"query": SQL}),
    ]

    assert {(answer.status_code, answer.json()["message"]) for answer in answers} == {(403, "Permission Denied")}
    assert all("disabled by administrator" in answer.json()["errors"][0]["reason"] for answer in answers)
    assert live_query.started == []


async def test_parts_that_work_are_said_to_work(ask, admin):
    assert (await ask(admin, "GET /status/live_query")).json() == {}
    assert (await ask(admin, "GET /status/result_store")).json() == {}


GLOBAL_RUNS = {"admin": "YYY", "maintainer": "YYY", "observer_plus": "YYY", "observer": "-Y-", "gitops": "---"}
"""Per role: new SQL, a query that observers may run, one that they may not."""


async def statuses(ask, member, hosts: list[int], queries: list[int]) -> str:
    """Run new SQL and each query on hosts; `Y` for each that runs, `-` for each that is forbidden."""
    found = ""
    for what in ({"query": SQL}, *({"query_id": query} for query in queries)):
        answer = await ask(member, "POST /queries/run", {**what, "selected": {"hosts": hosts}})
        found += {200: "Y", 403: "-"}.get(answer.status_code, "?")
    return found


@pytest.mark.parametrize("role", ROLES)
async def test_which_global_roles_run_what(ask, fleet, live_query, make_user, role):
    host = await fleet.host("a")
    queries = [await fleet.query("shared", observer_can_run=True), await fleet.query("closed")]
    member = await make_user(role, api_only=role == "gitops")

    assert await statuses(ask, member, [host], queries) == GLOBAL_RUNS[role]


@pytest.mark.parametrize("role", ROLES)
async def test_members_run_the_same_on_their_own_hosts_only(ask, fleet, live_query, make_user, teams, role):
    own, foreign, nobodys = await fleet.host("a", teams[0]), await fleet.host("b", teams[1]), await fleet.host("c")
    queries = [await fleet.query("shared", teams[0], observer_can_run=True), await fleet.query("closed", teams[0])]
    member = await make_user(role, teams[0], api_only=role == "gitops")

    assert await statuses(ask, member, [own, foreign, nobodys], queries) == GLOBAL_RUNS[role]
    assert {request.allowed_team_ids for request in live_query.started} <= {(teams[0],)}
    for body in ({"hosts": [foreign, nobodys]}, {"teams": [teams[1]]}, {"teams": [0]}, {"teams": [teams[0], teams[1]]}):
        answer = await ask(member, "POST /queries/run", {"query_id": queries[0], "selected": body})
        assert answer.status_code in ({400, 403} if "hosts" in body else {403}), body


async def test_an_observer_of_one_team_and_maintainer_of_another_runs_new_sql_in_the_latter(
    ask, fleet, live_query, make_user, database, teams
):
    from flotilla_common.db.models.admin_api import UserTeam  # noqa: PLC0415

    watched, run = await fleet.host("a", teams[0]), await fleet.host("b", teams[1])
    member = await make_user("observer", teams[0])
    await database.add(UserTeam(user_id=member.user_id, team_id=teams[1], role="maintainer"))

    await ask(member, "POST /queries/run", {"query": SQL, "selected": {"hosts": [watched, run]}})
    await ask(member, "POST /queries/run", {"query": SQL, "selected": {"labels": [ALL_HOSTS]}})

    assert [request.allowed_team_ids for request in live_query.started] == [(teams[1],)] * 2


async def test_a_team_query_of_others_cannot_be_run(ask, fleet, live_query, make_user, teams):
    host, query = await fleet.host("a", teams[0]), await fleet.query("theirs", teams[1], observer_can_run=True)
    member = await make_user("maintainer", teams[0])

    answer = await ask(member, "POST /queries/run", {"query_id": query, "selected": {"hosts": [host]}})

    assert answer.status_code == 403
    assert live_query.started == []


async def test_the_ad_hoc_query_of_somebody_else_cannot_be_run_by_its_number(ask, fleet, admin, live_query, make_user):
    host, other = await fleet.host("a"), await make_user("admin")
    run = await ask(admin, "POST /queries/run", {"query": SQL, "selected": {"hosts": [host]}})

    body = {"query_id": run.json()["campaign"]["query_id"], "selected": {"hosts": [host]}}
    assert (await ask(other, "POST /queries/run", body)).status_code == 404
    assert (await ask(admin, "POST /queries/run", body)).status_code == 200


async def test_a_campaign_is_shown_with_its_ledger(ask, fleet, admin, live_query):
    hosts = [await fleet.host(name) for name in "abc"]
    campaign = await live_query.campaign(hosts, sql=SQL)
    await live_query.answer(campaign, hosts[0])
    await live_query.answer(campaign, hosts[1], [], "failed")
    await live_query.offered(campaign)

    shown = (await ask(admin, f"GET /campaigns/{campaign}")).json()["campaign"]
    await live_query.complete(campaign, "stopped")
    ended = (await ask(admin, f"GET /campaigns/{campaign}")).json()["campaign"]

    assert (shown["id"], shown["query"], shown["status"], shown["end_reason"]) == (campaign, SQL, 1, None)
    assert shown["hosts"] == {
        "targeted": 3, "answered": 1, "failed": 1, "denylisted": 0, "expired": 0, "cancelled": 0, "unreachable": 0,
        "pending": 1, "offered": 1,
    }  # fmt: skip
    assert (ended["status"], ended["end_reason"]) == (2, "stopped")


async def test_a_campaign_is_stopped_by_its_owner(ask, fleet, live_query, make_user, teams):
    observer = await make_user("observer", teams[0])
    campaign = await live_query.campaign([await fleet.host("a", teams[0])], observer.user_id)

    answer = await ask(observer, f"DELETE /campaigns/{campaign}")

    assert (answer.status_code, answer.json()) == (200, {})
    assert live_query.stopped == [StopCampaignV1(campaign_id=campaign)]


@pytest.mark.parametrize("role", ROLES)
async def test_who_may_see_and_stop_the_campaigns_of_others(ask, fleet, live_query, make_user, teams, role):
    own, foreign = await fleet.host("a", teams[0]), await fleet.host("b", teams[1])
    shared = await fleet.query("shared", observer_can_run=True)
    everywhere, within = [await live_query.campaign(hosts, 1, shared) for hosts in ([own, foreign], [own])]
    ad_hoc = await live_query.campaign([own], 1)
    member = await make_user(role, teams[0], api_only=role == "gitops")
    sees = 403 if role == "gitops" else 200
    runs_new = 200 if role in {"admin", "maintainer", "observer_plus"} else 403
    stops = 200 if role in {"admin", "maintainer"} else 403

    async def asked(verb: str) -> list[int]:
        return [
            (await ask(member, f"{verb} /campaigns/{number}")).status_code for number in (within, ad_hoc, everywhere)
        ]

    assert await asked("GET") == [sees, runs_new, 403]
    assert await asked("DELETE") == [stops, stops, 403]
    assert len(live_query.stopped) == (2 if stops == 200 else 0)


async def test_unknown_campaigns_are_not_found(ask, admin):
    assert (await ask(admin, "GET /campaigns/99")).status_code == 404
    assert (await ask(admin, "DELETE /campaigns/99")).status_code == 404


async def test_how_far_a_ramp_is_is_shown(ask, fleet, admin, live_query, database):
    hosts = [await fleet.host(name) for name in "abcde"]
    ramped = await live_query.campaign(hosts, budget=Budget(hosts_at_a_time=2))
    at_once = await live_query.campaign(hosts, budget=Budget(max_rows=9))
    async with database.sessions("live_query").begin() as session:
        released = update(LedgerRow).where(col(LedgerRow.campaign_id) == ramped, col(LedgerRow.host_id) <= hosts[2])
        await session.execute(released.values(released_at=datetime.now(UTC)))
    await live_query.answer(ramped, hosts[0])

    shown = [(await ask(admin, f"GET /campaigns/{number}")).json()["campaign"]["ramp"] for number in (ramped, at_once)]

    assert shown == [{"hosts_at_a_time": 2, "asked": 2, "waiting": 2}, None]

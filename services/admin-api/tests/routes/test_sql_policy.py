"""The live query policy: every way to start a live query is held to it, and the config says what it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from admin_api.metrics import QUERIES_REFUSED
from flotilla_common.db.models.admin_api import AppConfig, Query, UserTeam
from flotilla_common.errors import Unavailable

from .conftest import LONG_AGO
from .test_every_route import ROUTES

CURL = "SELECT result FROM curl WHERE url = 'https://a.test'"
REASON = "the live query policy keeps the role {} from curl"
WAYS = {
    "POST /queries/run": lambda ask: {**ask, "selected": {"hosts": [1]}},
    "POST /queries/run_by_names": lambda ask: {**ask, "selected": {"hosts": ["a"]}},
    "POST /queries/run_by_identifiers": lambda ask: {**ask, "selected": {"hosts": ["a"]}},
    "POST /queries/{query_id:int}/run": lambda _: {"host_ids": [1]},
    "POST /hosts/{host_id:int}/query": lambda ask: ask,
    "POST /hosts/identifier/{identifier}/query": lambda ask: ask,
}
OLD_WAY = "GET /queries/run"
"""It tells of each query's failure within its answer."""
SAVED = [way for way in WAYS if not way.endswith("/query")]
NEW = [way for way in WAYS if "{query_id" not in way]


@pytest.fixture
async def host(fleet) -> int:
    return await fleet.host("a")


@pytest.fixture
def run(ask, host):
    """`await run(member, way, query_id=1)` or `query=SQL`: ask host `a`."""

    async def start(member, way: str, **asked):
        assert host == 1
        ids = {"{query_id:int}": str(asked.get("query_id")), "{host_id:int}": "1", "{identifier}": "a"}
        path = way
        for place, value in ids.items():
            path = path.replace(place, value)
        return await ask(member, path, WAYS[way](asked))

    return start


@pytest.fixture
def answering(live_query):
    async def play(campaign_id: int, host_ids: list[int]) -> None:
        for host_id in host_ids:
            await live_query.answer(campaign_id, host_id)

    live_query.script = play


def refusal(answer) -> tuple[int, str, list[dict[str, str]]]:
    body = answer.json()
    return answer.status_code, body["message"], body["errors"]


def of_role(role: str) -> tuple[int, str, list[dict[str, str]]]:
    return 403, "forbidden", [{"name": "base", "reason": REASON.format(role)}]


def test_every_way_to_start_a_live_query_is_tried_here():
    starting = {route for route in ROUTES if route.endswith(("/run", "/query", "/run_by_names", "/run_by_identifiers"))}

    assert starting == {*WAYS, OLD_WAY}


@pytest.mark.parametrize("way", SAVED)
async def test_an_observer_may_not_run_a_saved_query_of_a_denied_table(run, fleet, live_query, make_user, news, way):
    query = await fleet.query("q", query=CURL, observer_can_run=True)

    answer = await run(await make_user("observer"), way, query_id=query)

    assert refusal(answer) == of_role("observer")
    assert live_query.started == []
    assert await news.activities() == []


@pytest.mark.parametrize("way", NEW)
async def test_an_observer_plus_may_not_run_new_sql_of_a_denied_table(run, database, live_query, make_user, news, way):
    answer = await run(await make_user("observer_plus"), way, query=CURL)

    assert refusal(answer) == of_role("observer_plus")
    assert live_query.started == []
    assert await news.activities() == []
    assert await database.rows(Query) == []


async def test_refusals_are_counted_by_role(run, fleet, make_user):
    query = await fleet.query("q", query=CURL, observer_can_run=True)
    before = QUERIES_REFUSED.labels("observer")._value.get()

    await run(await make_user("observer"), "POST /queries/run", query_id=query)

    assert QUERIES_REFUSED.labels("observer")._value.get() == before + 1


async def test_the_old_way_refuses_the_denied_query_and_runs_the_other(
    ask, fleet, host, live_query, answering, make_user
):
    denied = await fleet.query("denied", query=CURL, observer_can_run=True)
    fine = await fleet.query("fine", observer_can_run=True)

    answer = await ask(await make_user("observer"), OLD_WAY, {"query_ids": [denied, fine], "host_ids": [host]})

    first, second = answer.json()["live_query_results"]
    assert first == {"query_id": denied, "error": REASON.format("observer"), "results": []}
    assert [result["host_id"] for result in second["results"]] == [host]
    assert [request.query_id for request in live_query.started] == [fine]


@pytest.mark.parametrize("way", NEW)
async def test_new_sql_of_admins_runs_as_ever(run, admin, live_query, answering, way):
    answer = await run(admin, way, query=CURL)

    assert answer.status_code == 200, answer.text
    assert "warnings" not in answer.json()
    assert [request.sql for request in live_query.started] == [CURL]


@pytest.mark.parametrize("way", SAVED)
async def test_a_maintainer_that_the_policy_names_is_refused(ask, run, admin, fleet, live_query, make_user, way):
    await ask(admin, "PATCH /config", {"live_query_policy": {"denied": {"maintainer": ["curl"]}}})
    query = await fleet.query("q", query=CURL)

    answer = await run(await make_user("maintainer"), way, query_id=query)

    assert refusal(answer) == of_role("maintainer")
    assert live_query.started == []


async def test_an_observer_runs_what_the_policy_no_longer_denies(ask, run, admin, fleet, live_query, make_user):
    await ask(admin, "PATCH /config", {"live_query_policy": {"denied": {"observer": ["carves"]}}})
    query = await fleet.query("q", query=CURL, observer_can_run=True)

    answer = await run(await make_user("observer"), "POST /queries/run", query_id=query)

    assert answer.status_code == 200
    assert len(live_query.started) == 1


async def test_an_offline_host_is_no_way_around(ask, fleet, live_query, make_user):
    host = await fleet.host("away", seen=LONG_AGO)

    answer = await ask(await make_user("observer_plus"), f"POST /hosts/{host}/query", {"query": CURL})

    assert refusal(answer) == of_role("observer_plus")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT carve(path) FROM file WHERE path = '/etc/shadow'", "keeps the role observer_plus from carve()"),
        ("SELECT count(*) FROM yara('r', 'https://a.test')", "keeps the role observer_plus from yara.sigurl"),
        ("SELECT 1; SELECT * FROM carves, curl", "keeps the role observer_plus from carves, curl"),
        ("CREATE VIEW v AS SELECT 1", "lets the role observer_plus only read: this does CREATE or DROP"),
        ("SELECT * FROM", "needs SQL of the role observer_plus that can be checked: incomplete input"),
        ("SELECT 1 -- " + "x" * 100_000, "can be checked: it is longer than 100000 characters"),
    ],
)
async def test_a_refusal_says_what_is_wrong(run, live_query, make_user, sql, reason):
    answer = await run(await make_user("observer_plus"), "POST /queries/run", query=sql)

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["reason"].endswith(reason)
    assert live_query.started == []


async def test_what_no_host_can_run_still_runs_for_who_is_denied_nothing(run, admin, live_query):
    answer = await run(admin, "POST /queries/run", query="SELECT * FROM")

    assert answer.json()["warnings"] == ["no host may be able to run this: incomplete input"]
    assert len(live_query.started) == 1


@pytest.mark.parametrize("way", NEW)
async def test_warnings_come_with_the_answer(run, admin, live_query, answering, way):
    answer = await run(admin, way, query="SELECT sha256 FROM hash")

    assert answer.json()["warnings"] == [
        "hash is asked for without directory or path in a WHERE or JOIN: hosts answer no rows from it"
    ]


async def test_unknown_tables_are_left_to_the_hosts(run, live_query, make_user):
    answer = await run(await make_user("observer_plus"), "POST /queries/run", query="SELECT a FROM of_an_extension")

    assert answer.status_code == 200
    assert "warnings" not in answer.json()


@pytest.fixture
async def two_teams(database, fleet, make_user, make_team):
    """A member who observes one team and maintains another, and a host of each: (member, teams, hosts)."""
    observed, maintained = await make_team("Observed"), await make_team("Maintained")
    member = await make_user("observer", observed)
    await database.add(UserTeam(user_id=member.user_id, team_id=maintained, role="maintainer"))
    return member, (observed, maintained), (await fleet.host("b", observed), await fleet.host("c", maintained))


async def test_hosts_of_teams_where_the_role_may_not_ask_are_left_out_and_told(ask, fleet, live_query, two_teams):
    member, (observed, maintained), hosts = two_teams
    query = await fleet.query("q", query=CURL, observer_can_run=True)

    answer = await ask(member, "POST /queries/run", {"query_id": query, "selected": {"hosts": list(hosts)}})

    assert [request.allowed_team_ids for request in live_query.started] == [(maintained,)]
    assert answer.json()["warnings"] == [f"hosts of team {observed} are not asked: {REASON.format('observer')}"]


async def test_naming_only_hosts_or_the_team_of_a_refusal_is_refused(ask, fleet, live_query, two_teams):
    member, (observed, _), (theirs, _) = two_teams
    query = await fleet.query("q", query=CURL, observer_can_run=True)

    by_host = await ask(member, "POST /queries/run", {"query_id": query, "selected": {"hosts": [theirs]}})
    by_team = await ask(member, "POST /queries/run", {"query_id": query, "selected": {"teams": [observed]}})

    assert refusal(by_host) == refusal(by_team) == of_role("observer")
    assert live_query.started == []


async def test_who_is_kept_from_a_run_of_somebody_else_by_the_policy_is_told_so(
    ask, admin, host, live_query, make_user
):
    run = {"query": CURL, "selected": {"hosts": [host]}}
    number = (await ask(admin, "POST /queries/run", run)).json()["campaign"]["id"]
    observer = await make_user("observer_plus")

    looks = ["", "/ledger", "/ledger/export", "/results"]
    answers = [await ask(observer, f"GET /campaigns/{number}{look}") for look in looks]

    assert [refusal(answer) for answer in answers] == [of_role("observer_plus")] * len(looks)


@pytest.mark.parametrize(("sql", "first"), [(CURL, "error"), ("SELECT 1", "totals")])
async def test_watching_the_run_of_somebody_else_is_no_way_around(
    ask, fleet, host, live_query, watching, make_user, sql, first
):
    query = await fleet.query("q", query=sql, observer_can_run=True)
    campaign = await live_query.campaign([host], 1, query, sql=sql)
    observer = await make_user("observer")

    shown = await ask(observer, f"GET /campaigns/{campaign}")
    async with watching(observer, campaign) as viewer:
        told = await viewer.next()

    assert told["type"] == first
    assert shown.status_code == {"error": 403, "totals": 200}[first]


class Silent:
    """A reader that has no time."""

    async def read(self, _: str, *, holding: bool = False) -> None:
        raise Unavailable("too many queries are being checked now")


async def test_when_sql_cannot_be_read_only_who_is_denied_nothing_goes_on(app, run, admin, live_query, make_user):
    app.state.deps = replace(app.state.deps, sql_reader=Silent())

    refused = await run(await make_user("observer_plus"), "POST /queries/run", query="SELECT 1")
    started = await run(admin, "POST /queries/run", query="SELECT 1")

    assert refused.status_code == 503
    assert started.json()["warnings"] == ["it was not checked: too many queries are being checked now"]
    assert len(live_query.started) == 1


class Watched:
    """Reads, and notes how often while a connection to Postgres was held."""

    def __init__(self, reader, engine) -> None:
        self.reader, self.engine, self.held = reader, engine, []

    async def read(self, sql: str, *, holding: bool = False):
        self.held.append(self.engine.pool.checkedout())
        return await self.reader.read(sql, holding=holding)


@pytest.mark.parametrize("way", [*NEW, "POST /queries/check"])
async def test_new_sql_is_read_before_a_connection_is_taken(app, ask, run, admin, live_query, answering, way):
    deps = app.state.deps
    watched = Watched(deps.sql_reader, deps.sessions.kw["bind"])
    app.state.deps = replace(deps, sql_reader=watched)
    sql = f"SELECT '{way}' FROM time"

    await (run(admin, way, query=sql) if way in WAYS else ask(admin, way, {"query": sql}))

    assert watched.held == [0, 1]


async def test_a_check_tells_what_a_query_touches_and_keeps_nothing(ask, database, make_user, news):
    member = await make_user("observer_plus")

    answer = await ask(member, "POST /queries/check", {"query": "SELECT carve(path) FROM hash"})

    assert answer.json()["check"] == {
        "allowed": False,
        "refusals": [
            {
                "team_id": None,
                "role": "observer_plus",
                "reason": "the live query policy keeps the role observer_plus from carve()",
            }
        ],
        "warnings": ["hash is asked for without directory or path in a WHERE or JOIN: hosts answer no rows from it"],
        "tables": ["hash"],
        "columns": ["hash.path"],
        "functions": ["carve"],
        "unreadable": "",
    }
    assert await database.rows(Query) == []
    assert await news.activities() == []


async def test_who_may_not_run_new_sql_may_check_saved_queries_only(ask, fleet, make_user):
    observer = await make_user("observer")
    query = await fleet.query("q", observer_can_run=True)

    assert (await ask(observer, "POST /queries/check", {"query": "SELECT 1"})).status_code == 403
    answer = await ask(observer, "POST /queries/check", {"query_id": query})
    assert answer.json()["check"]["allowed"] is True


async def test_a_new_installation_keeps_observers_from_what_sends_or_fetches(ask, admin):
    policy = (await ask(admin, "GET /config")).json()["live_query_policy"]

    kept = ["carves", "carve()", "curl", "curl_certificate", "yara.sigurl", "yara_process.sigurl"]
    assert policy == {
        "denied": {"admin": [], "maintainer": [], "observer_plus": kept, "observer": kept},
        "extension_tables": [],
    }


async def test_an_installation_from_before_the_policy_has_the_same(ask, admin, database, run, make_user):
    async with database.sessions("admin_api").begin() as session:
        row = await session.get(AppConfig, 1)
        row.document = {name: block for name, block in row.document.items() if name != "live_query_policy"}

    answer = await run(await make_user("observer_plus"), "POST /queries/run", query=CURL)

    assert refusal(answer) == of_role("observer_plus")


async def test_one_roles_list_is_replaced_the_others_stay_and_an_activity_tells(ask, admin, news):
    patch = {"live_query_policy": {"denied": {"maintainer": ["Plist.Value", "mine"]}, "extension_tables": ["mine"]}}

    answer = await ask(admin, "PATCH /config", patch)

    policy = answer.json()["live_query_policy"]
    assert policy["denied"]["maintainer"] == ["Plist.Value", "mine"]
    assert "curl" in policy["denied"]["observer"]
    assert await news.activities() == [("edited_live_query_policy", policy)]
    assert await news.events() == [("app_config_changed", {})]


@pytest.mark.parametrize(
    ("policy", "name", "reason"),
    [
        (
            {"denied": {"observer": ["carvs"]}},
            "denied.observer",
            '"carvs": osquery has no such table (is it carves?); extension_tables may name others',
        ),
        (
            {"denied": {"admin": ["plist.valu"]}},
            "denied.admin",
            '"plist.valu": osquery\'s table plist has no such column (is it value?)',
        ),
        ({"denied": {"admin": [""]}}, "denied.admin", '"": must be table, table.column or function()'),
        ({"denied": {"admin": ["a b"]}}, "denied.admin", '"a b": must be table, table.column or function()'),
        ({"extension_tables": ["a.b"]}, "extension_tables", '"a.b": must be the name of a table'),
        ({"denied": {"admin": ["curl"] * 1001}}, "denied.admin", "at most 1000 entries"),
        ({"denied": {"admin": ["x" * 201 + "()"]}}, "denied.admin", f'"{"x" * 200}": longer than 200 characters'),
    ],
)
async def test_a_policy_that_would_protect_nothing_is_refused(ask, admin, news, policy, name, reason):
    answer = await ask(admin, "PATCH /config", {"live_query_policy": policy})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"name": f"live_query_policy.{name}", "reason": reason}]
    assert await news.activities() == []


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"denied": {"gitops": []}}, 'unsupported key provided: "gitops"'),
        ({"deny": {}}, 'unsupported key provided: "deny"'),
        (
            {"denied": {"observer": "curl"}},
            "invalid value type at 'live_query_policy.denied.observer': expected array but got string",
        ),
    ],
)
async def test_a_policy_of_another_shape_is_refused(ask, admin, policy, reason):
    answer = await ask(admin, "PATCH /config", {"live_query_policy": policy})

    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"name": "base", "reason": reason}]


async def test_only_who_may_change_the_config_may_change_the_policy(ask, make_user):
    answer = await ask(await make_user("maintainer"), "PATCH /config", {"live_query_policy": {}})

    assert answer.status_code == 403

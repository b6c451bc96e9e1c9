"""Saved queries: made, scheduled, changed, removed."""

from __future__ import annotations

import asyncio

import pytest
from admin_api.store import labels, queries
from flotilla_common.db.models.admin_api import Query, QueryLabel

FULL = {
    "name": "Open ports",
    "query": "SELECT * FROM listening_ports",
    "description": "what listens",
    "interval": 3600,
    "platform": "darwin, linux",
    "min_osquery_version": "5.1.0",
    "automations_enabled": True,
    "logging": "differential",
    "observer_can_run": True,
    "discard_data": True,
    "labels_include_any": ["All Hosts", "macOS"],
}


async def make(ask, member, **body):
    answer = await ask(member, "POST /queries", {"name": "q", "query": "SELECT 1", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["query"]


async def test_a_query_is_stored_with_its_schedule(ask, admin, news):
    query = await make(ask, admin, **FULL)

    shown = {name: query[name] for name in FULL if name not in {"labels_include_any", "platform"}}
    assert shown == {name: value for name, value in FULL.items() if name in shown}
    assert query["platform"] == "darwin,linux"
    assert [label["name"] for label in query["labels_include_any"]] == ["All Hosts", "macOS"]
    assert (query["team_id"], query["saved"], query["packs"]) == (None, True, [])
    assert (query["author_id"], query["author_email"]) == (1, "ada@acme.test")
    assert query["stats"]["total_executions"] == 0
    assert await news.events() == [("query_changed", {"query_id": query["id"], "team_id": None, "deleted": False})]
    details = {"query_id": query["id"], "query_name": "Open ports"}
    assert await news.activities() == [("created_saved_query", details)]
    assert (await ask(admin, f"GET /queries/{query['id']}")).json()["query"] == query


async def test_a_bare_query_is_not_scheduled(ask, admin):
    query = await make(ask, admin)

    assert (query["interval"], query["platform"], query["logging"]) == (0, "", "snapshot")
    assert (query["automations_enabled"], query["observer_can_run"], query["discard_data"]) == (False, False, False)


async def test_a_team_has_names_of_its_own(ask, admin, make_team, news):
    team_id = await make_team("Servers")
    await make(ask, admin)

    query = await make(ask, admin, team_id=team_id)

    assert query["team_id"] == team_id
    assert ("query_changed", {"query_id": query["id"], "team_id": team_id, "deleted": False}) in await news.events()
    assert (await ask(admin, "POST /queries", {"name": "Q", "query": "SELECT 1"})).status_code == 409
    assert (await ask(admin, "POST /queries", {"name": "Q", "query": "x", "team_id": team_id})).status_code == 409


VERIFICATION = "query payload verification: "
DEAD_NAME = "query name must not start with query., cache. or config_views., nor end in epoch or counter"


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"name": None}, 400, VERIFICATION + "query name cannot be empty"),
        ({"name": " "}, 400, VERIFICATION + "query name cannot be empty"),
        ({"name": "x" * 256}, 400, VERIFICATION + "query name may not be longer than 255 characters"),
        *(
            ({"name": name}, 400, VERIFICATION + DEAD_NAME)
            for name in ("my epoch", "hits_counter", "query.x", "cache.x")
        ),
        ({"query": None}, 400, VERIFICATION + "query's SQL query cannot be empty"),
        ({"query": " "}, 400, VERIFICATION + "query's SQL query cannot be empty"),
        (
            {"platform": "beos"},
            400,
            VERIFICATION + "query's platform must be a comma-separated list of 'darwin', 'linux', 'windows', and/or "
            "'chrome' in a single string",
        ),
        (
            {"logging": "loud"},
            400,
            VERIFICATION
            + "invalid logging value, must be one of 'snapshot', 'differential', 'differential_ignore_removals'",
        ),
        ({"min_osquery_version": "new"}, 400, VERIFICATION + "min_osquery_version must be empty or a version"),
        ({"labels_include_any": ["Nobody"]}, 400, "invalid label names: Nobody"),
        ({"team_id": 99}, 404, "Team 99 was not found in the datastore"),
        ({"interval": -1}, 400, "json decoder error"),
        ({"interval": "1h"}, 400, "json decoder error"),
        ({"interval": 2**31}, 400, "json decoder error"),
        ({"labels_include_any": "macOS"}, 400, "json decoder error"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(ask, admin, database, news, change, status, reason):
    answer = await ask(admin, "POST /queries", {"name": "q", "query": "SELECT 1", **change})

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (status, reason)
    assert await database.rows(Query) == []
    assert await news.events() == []


async def test_a_change_leaves_what_it_does_not_name(ask, admin, news):
    query = await make(ask, admin, **FULL)
    await news.events()
    await news.activities()

    answer = await ask(admin, f"PATCH /queries/{query['id']}", {"interval": 60, "labels_include_any": [], "name": "N"})

    changed = answer.json()["query"]
    same = set(query) - {"interval", "labels_include_any", "name", "updated_at"}
    assert (changed["interval"], changed["labels_include_any"], changed["name"]) == (60, [], "N")
    assert {name: changed[name] for name in same} == {name: query[name] for name in same}
    assert await news.events() == [("query_changed", {"query_id": query["id"], "team_id": None, "deleted": False})]
    assert [kind for kind, _ in await news.activities()] == ["edited_saved_query"]


@pytest.mark.parametrize(
    ("change", "status"),
    [({"name": ""}, 400), ({"query": ""}, 400), ({"name": "OTHER"}, 409), ({"interval": 1.5}, 400), ([], 400)],
)
async def test_a_change_that_makes_no_sense_changes_nothing(ask, admin, news, change, status):
    query = await make(ask, admin)
    await make(ask, admin, name="Other")
    await news.events()

    answer = await ask(admin, f"PATCH /queries/{query['id']}", change)

    assert answer.status_code == status
    assert (await ask(admin, f"GET /queries/{query['id']}")).json()["query"] == query
    assert await news.events() == []


async def test_a_list_is_of_one_scope_and_may_have_the_inherited_ones(ask, admin, make_team):
    team_id = await make_team("Servers")
    for name, where, platform in (("a", None, ""), ("b", None, "darwin"), ("c", team_id, "linux"), ("d", team_id, "")):
        await make(ask, admin, name=name, team_id=where, platform=platform)

    async def found(**parameters):
        body = (await ask(admin, "GET /queries", order_key="name", order_direction="desc", **parameters)).json()
        return [query["name"] for query in body["queries"]], body["count"]

    assert await found() == (["b", "a"], 2)
    assert await found(team_id=str(team_id)) == (["d", "c"], 2)
    assert await found(team_id=str(team_id), merge_inherited="true") == (["d", "c", "b", "a"], 4)
    assert await found(platform="macos") == (["b", "a"], 2)
    assert await found(team_id=str(team_id), platform="windows") == (["d"], 1)
    assert await found(query="B") == (["b"], 1)
    assert await found(per_page="1", page="1") == (["a"], 2)
    for parameters in ({"team_id": "x"}, {"platform": "darwin,linux"}, {"page": "-1"}):
        assert (await ask(admin, "GET /queries", **parameters)).status_code == 400


async def test_removed_queries_are_told_of(ask, admin, make_team, database, news):
    team_id = await make_team("Servers")
    one, two = await make(ask, admin, name="one", labels_include_any=["macOS"]), await make(ask, admin, name="a/b")
    three, four = await make(ask, admin, name="x", team_id=team_id), await make(ask, admin, name="y", team_id=team_id)
    await news.events()
    await news.activities()

    by_name = await ask(admin, "DELETE /queries/a%2FB")
    by_id = await ask(admin, f"DELETE /queries/id/{one['id']}")
    many = await ask(admin, "POST /queries/delete", {"ids": [four["id"], three["id"]]})

    assert [by_name.json(), by_id.json(), many.json()] == [{}, {}, {"deleted": 2}]
    assert await database.rows(Query) == []
    assert await database.rows(QueryLabel) == []
    gone = [(fields["query_id"], fields["team_id"], fields["deleted"]) for _, fields in await news.events()]
    assert gone == [
        (two["id"], None, True),
        (one["id"], None, True),
        (three["id"], team_id, True),
        (four["id"], team_id, True),
    ]
    assert await news.activities() == [
        ("deleted_saved_query", {"query_name": "a/b"}),
        ("deleted_saved_query", {"query_name": "one"}),
        ("deleted_multiple_saved_query", {"query_ids": [three["id"], four["id"]]}),
    ]


async def test_a_teams_query_is_not_removed_by_its_name(ask, admin, make_team):
    await make(ask, admin, team_id=await make_team("Servers"))

    assert (await ask(admin, "DELETE /queries/q")).status_code == 404


@pytest.mark.parametrize("ids", [[1, 99], [1, 2]])
async def test_one_bad_id_and_none_is_removed(ask, admin, make_team, make_user, database, ids):
    team_id = await make_team("Servers")
    await make(ask, admin, team_id=team_id)
    await make(ask, admin)
    member = await make_user("maintainer", team_id)

    answer = await ask(member, "POST /queries/delete", {"ids": ids})

    assert answer.status_code == (404 if 99 in ids else 403)
    assert len(await database.rows(Query)) == 2


@pytest.mark.parametrize(
    "what",
    ["GET /queries/99", "PATCH /queries/99", "DELETE /queries/id/99", "DELETE /queries/no", "GET /spec/queries/no"],
)
async def test_an_unknown_query_is_missing(ask, admin, what):
    assert (await ask(admin, what, {} if "PATCH" in what else None)).status_code == 404


async def test_an_ad_hoc_query_is_nobodys_to_see_or_change(ask, admin, database):
    await database.add(Query(name="adhoc", query="SELECT 1", saved=False, author_id=7))

    assert (await ask(admin, "GET /queries/1")).status_code == 404
    assert (await ask(admin, "PATCH /queries/1", {"name": "x"})).status_code == 404
    assert (await ask(admin, "GET /queries")).json()["queries"] == []


@pytest.mark.parametrize(
    ("role", "own", "reads_global", "writes_global", "reads_team", "writes_team"),
    [
        ("maintainer", None, 200, 200, 200, 200),
        ("observer", None, 200, 403, 200, 403),
        ("gitops", None, 200, 200, 200, 200),
        ("admin", True, 200, 403, 200, 200),
        ("maintainer", True, 200, 403, 200, 200),
        ("observer", True, 200, 403, 200, 403),
        ("observer_plus", True, 200, 403, 200, 403),
        ("gitops", True, 403, 403, 200, 200),
        ("admin", False, 200, 403, 403, 403),
    ],
)
async def test_who_may_read_and_write_queries(
    ask, admin, make_team, make_user, role, own, reads_global, writes_global, reads_team, writes_team
):
    team_id, other_id = await make_team("Servers"), await make_team("Laptops")
    global_id, team_query = (await make(ask, admin))["id"], (await make(ask, admin, team_id=team_id))["id"]
    member = await make_user(role, {None: None, True: team_id, False: other_id}[own], api_only=role == "gitops")

    async def statuses(query_id, team, spec_team):
        listed = await ask(member, "GET /queries", **({} if team is None else {"team_id": str(team)}))
        shown = await ask(member, f"GET /queries/{query_id}")
        spec = {"name": "s", "query": "SELECT 1", "team": spec_team}
        written = [
            await ask(member, "POST /queries", {"name": "new", "query": "SELECT 1", "team_id": team}),
            await ask(member, f"PATCH /queries/{query_id}", {"description": "d"}),
            await ask(member, "POST /spec/queries", {"specs": [spec]}),
            await ask(member, f"DELETE /queries/id/{query_id}"),
        ]
        return {listed.status_code, shown.status_code}, {answer.status_code for answer in written}

    assert await statuses(global_id, None, "") == ({reads_global}, {writes_global})
    assert await statuses(team_query, team_id, "Servers") == ({reads_team}, {writes_team})


async def test_what_the_spec_prints_is_accepted_back_and_changes_nothing(ask, admin, make_team):
    await make(ask, admin, **FULL)
    team_id = await make_team("Servers")
    await make(ask, admin, **{**FULL, "team_id": team_id, "name": "of the team"})
    before = (await ask(admin, "GET /spec/queries")).json()
    of_team = (await ask(admin, "GET /spec/queries/of%20the%20team", team_id=str(team_id))).json()["specs"]

    answer = await ask(admin, "POST /spec/queries", {"specs": [*before["specs"], of_team]})

    assert answer.status_code == 200, answer.text
    assert (await ask(admin, "GET /spec/queries")).json() == before
    assert len((await ask(admin, "GET /queries", team_id=str(team_id))).json()["queries"]) == 1
    assert (of_team["team"], before["specs"][0]["team"]) == ("Servers", "")
    assert before["specs"][0]["labels_include_any"] == ["All Hosts", "macOS"]


COMPOSED, DECOMPOSED = "Caf\u00e9 \u0130", "cafe\u0301 \u0130"


async def test_a_name_is_found_however_its_letters_are_composed(ask, admin, make_team, database):
    await make_team(COMPOSED)
    for name in (COMPOSED, DECOMPOSED):
        for spec in ({"name": name, "query": "SELECT 1"}, {"name": name, "query": "SELECT 1", "team": name}):
            answer = await ask(admin, "POST /spec/queries", {"specs": [spec]})
            assert answer.status_code == 200, answer.text

    shown = await ask(admin, f"GET /spec/queries/{DECOMPOSED}")
    removed = await ask(admin, f"DELETE /queries/{DECOMPOSED}")

    [left] = await database.rows(Query)
    assert (shown.status_code, removed.status_code) == (200, 200)
    assert left.team_id is not None


async def test_global_queries_are_inherited_only_by_those_who_may_read_them(ask, admin, make_team, make_user):
    team_id = await make_team("Servers")
    await make(ask, admin, name="global")
    await make(ask, admin, name="own", team_id=team_id)

    async def listed(role):
        member = await make_user(role, team_id, api_only=role == "gitops")
        answer = (await ask(member, "GET /queries", team_id=str(team_id), merge_inherited="true")).json()
        return {query["name"] for query in answer["queries"]}, answer["count"]

    assert await listed("observer") == ({"global", "own"}, 2)
    assert await listed("gitops") == ({"own"}, 1)


async def test_a_label_is_not_removed_while_a_query_is_scoped_by_it(ask, admin, database, blocked):
    label = (await ask(admin, "POST /labels", {"name": "L", "query": "SELECT 1"})).json()["label"]
    async with database.sessions("admin_api").begin() as session:  # a request that has found its labels
        [found] = await labels.by_names(session, ["L"], lock=True)
        removal = asyncio.ensure_future(ask(admin, "DELETE /labels/L"))
        await blocked()
        query = Query(name="q", query="SELECT 1", team_id=None)
        session.add(query)
        await session.flush()
        await queries.set_labels(session, query.id, [found.id])

    assert (await removal).status_code == 422
    assert [row.label_id for row in await database.rows(QueryLabel)] == [label["id"]]


async def test_a_spec_says_everything_and_what_it_leaves_out_gets_its_default(ask, admin, news):
    query = await make(ask, admin, **FULL)
    await news.activities()
    spec = {"name": "OPEN ports", "query": "SELECT 2"}

    answer = await ask(admin, "POST /spec/queries", {"specs": [spec]}, force="true")

    changed = (await ask(admin, f"GET /queries/{query['id']}")).json()["query"]
    assert answer.json() == {}
    assert (changed["name"], changed["query"], changed["interval"]) == ("OPEN ports", "SELECT 2", 0)
    assert (changed["logging"], changed["labels_include_any"]) == ("snapshot", [])
    [(kind, details)] = await news.activities()
    assert kind == "applied_spec_saved_query"
    assert details["specs"][0]["name"] == "OPEN ports"


@pytest.mark.parametrize("dry_run", ["true", "false"])
@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"name": "", "query": "SELECT 1"}, 400),
        ({"name": "bad"}, 400),
        ({"name": "bad", "query": "SELECT 1", "platform": "beos"}, 400),
        ({"name": "bad", "query": "SELECT 1", "team": "Nowhere"}, 404),
        ({"name": "bad", "query": "SELECT 1", "interval": "x"}, 400),
    ],
)
async def test_one_bad_spec_and_none_is_applied(ask, admin, database, news, spec, status, dry_run):
    good = {"name": "good", "query": "SELECT 1"}

    answer = await ask(admin, "POST /spec/queries", {"specs": [good, spec]}, dry_run=dry_run)

    assert answer.status_code == status
    assert await database.rows(Query) == []
    assert await news.events() == []


async def test_a_dry_run_of_good_specs_does_nothing(ask, admin, database, news):
    answer = await ask(admin, "POST /spec/queries", {"specs": [{"name": "q", "query": "SELECT 1"}]}, dry_run="true")

    assert (answer.status_code, answer.json()) == (200, {})
    assert await database.rows(Query) == []
    assert (await news.events(), await news.activities()) == ([], [])

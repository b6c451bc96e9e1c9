"""Reports of queries: pages, one host, the CSV file, and who sees whose hosts (part 11.4)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from admin_api.routes import query_reports
from flotilla_common.contracts.logs import LINES_HEADER, subject
from flotilla_common.contracts.query_reports import BLOCK_BYTES, block_of, offset_of
from flotilla_common.db.models.admin_api import Query
from flotilla_common.db.models.log_shipper import QueryReport, QueryReportTimes, ReportedQuery
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import running_service
from sqlalchemy import select
from sqlmodel import col

FETCHED = datetime(2026, 7, 1, 11, tzinfo=UTC)
Report = Callable[..., Awaitable[None]]


@pytest.fixture
def report(database) -> Report:
    """`await report(query_id, host_id, {"port": "22"}, ...)`: as log-shipper would have written it."""
    times: dict[tuple[int, int], bytearray] = {}

    async def store(query_id: int, host_id: int, *rows: dict[str, str], clipped: bool = False) -> None:
        async with database.sessions("log_shipper").begin() as session:
            since = await session.scalar(select(col(Query.results_since)).where(col(Query.id) == query_id))
            await session.merge(ReportedQuery(query_id=query_id, results_since=since))
            place = query_id, block_of(host_id)
            entry = int(FETCHED.timestamp()).to_bytes(4, "big") + bytes(4)
            found = times.setdefault(place, bytearray(BLOCK_BYTES))
            found[offset_of(host_id) : offset_of(host_id) + 8] = entry
            await session.merge(QueryReportTimes(query_id=query_id, block=place[1], times=bytes(found)))
            if rows or clipped:
                text = json.dumps(rows).encode()
                row = QueryReport(query_id=query_id, host_id=host_id, row_count=len(rows), digest=b"-", rows=text)
                row.is_clipped = clipped
                session.add(row)

    return store


async def test_a_report_has_the_rows_of_all_hosts(ask, admin, fleet, report):
    first, second = await fleet.host("db-1", computer_name="The database"), await fleet.host("web-1")
    query = await fleet.query("ports", interval_seconds=60)
    await report(query, second, {"port": "443"})
    await report(query, first, {"port": "22"}, {"port": "80"}, clipped=True)

    answer = await ask(admin, f"GET /queries/{query}/report")

    fetched = "2026-07-01T11:00:00Z"
    on_first = {"host_id": first, "host_name": "The database", "last_fetched": fetched, "report_clipped": True}
    assert answer.json() == {
        "query_id": query,
        "report_clipped": True,
        "count": 3,
        "meta": {"has_next_results": False, "has_previous_results": False},
        "results": [
            {**on_first, "columns": {"port": "22"}},
            {**on_first, "columns": {"port": "80"}},
            {
                "host_id": second,
                "host_name": "web-1",
                "last_fetched": fetched,
                "report_clipped": False,
                "columns": {"port": "443"},
            },
        ],
    }


async def test_pages_follow_each_other_through_the_rows_of_hosts(ask, admin, fleet, report):
    query = await fleet.query("ports")
    hosts = [await fleet.host(f"h-{number}") for number in range(40)]
    wanted = []
    for number, host in enumerate(hosts):
        rows = [{"port": f"{number}-{row}"} for row in range(number % 4)]
        wanted += [row["port"] for row in rows]
        await report(query, host, *rows)
    found, page, more = [], 0, True
    while more:
        answer = (await ask(admin, f"GET /queries/{query}/report", page=str(page), per_page="7")).json()
        assert answer["count"] == len(wanted)
        assert answer["meta"]["has_previous_results"] == (page > 0)
        assert len(answer["results"]) == 7 or not answer["meta"]["has_next_results"]
        found += [row["columns"]["port"] for row in answer["results"]]
        page, more = page + 1, answer["meta"]["has_next_results"]

    assert found == wanted
    assert (await ask(admin, f"GET /queries/{query}/report", page="99", per_page="7")).json()["results"] == []


async def test_a_page_has_a_limit(ask, admin, fleet, report, monkeypatch):
    monkeypatch.setattr(query_reports, "PAGE", 2)
    query, host = await fleet.query("ports"), await fleet.host("h")
    await report(query, host, *({"n": str(number)} for number in range(3)))

    answer = (await ask(admin, f"GET /queries/{query}/report")).json()
    assert (len(answer["results"]), answer["meta"]["has_next_results"]) == (2, True)
    assert (await ask(admin, f"GET /queries/{query}/report", per_page="10001")).status_code == 400


async def test_one_host_has_its_own_report(ask, admin, fleet, report):
    query, host, empty, new = (
        await fleet.query("ports"), await fleet.host("db-1"), await fleet.host("e"), await fleet.host("n"),
    )  # fmt: skip
    await report(query, host, {"port": "22"}, {"port": "80"}, clipped=True)
    await report(query, empty)

    assert (await ask(admin, f"GET /hosts/{host}/queries/{query}")).json() == {
        "query_id": query,
        "host_id": host,
        "host_name": "db-1",
        "last_fetched": "2026-07-01T11:00:00Z",
        "report_clipped": True,
        "results": [{"columns": {"port": "22"}}, {"columns": {"port": "80"}}],
    }
    known = (await ask(admin, f"GET /hosts/{empty}/queries/{query}")).json()
    assert (known["last_fetched"], known["results"]) == ("2026-07-01T11:00:00Z", [])
    unknown = (await ask(admin, f"GET /hosts/{new}/queries/{query}")).json()
    assert (unknown["last_fetched"], unknown["results"], unknown["report_clipped"]) == (None, [], False)
    assert (await ask(admin, f"GET /hosts/99/queries/{query}")).status_code == 404
    assert (await ask(admin, f"GET /hosts/{host}/queries/99")).status_code == 404
    assert (await ask(admin, "GET /queries/99/report")).status_code == 404
    assert (await ask(admin, "GET /queries/99/report/export")).status_code == 404


@pytest.fixture
async def world(fleet, make_team, report):
    """Teams A and B with a host each, one host without, and a global query that all have answered."""
    team_a, team_b = await make_team("A"), await make_team("B")
    hosts = {"a": await fleet.host("a", team_a), "b": await fleet.host("b", team_b), "none": await fleet.host("none")}
    query = await fleet.query("ports")
    for name, host in hosts.items():
        await report(query, host, {"of": name})
    return {"team_a": team_a, "team_b": team_b, "query": query, **hosts}


def of(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["columns"]["of"] for row in answer.json()["results"]]


@pytest.mark.parametrize(
    ("role", "team", "seen"),
    [
        ("observer", None, ["a", "b", "none"]),
        ("gitops", None, []),
        ("observer", "team_a", ["a"]),
        ("observer_plus", "team_b", ["b"]),
        ("admin", "team_b", ["b"]),
    ],
)
async def test_each_host_is_seen_by_whoever_may_see_it(ask, make_user, world, role, team, seen):
    member = await make_user(role, world[team] if team else None)
    query = world["query"]

    answer = await ask(member, f"GET /queries/{query}/report")
    assert of(answer) == seen
    assert answer.json()["count"] == len(seen)
    file = await ask(member, f"GET /queries/{query}/report/export")
    assert [row[5] for row in list(csv.reader(io.StringIO(file.text)))[1:]] == seen
    for name in ("a", "b", "none"):
        single = await ask(member, f"GET /hosts/{world[name]}/queries/{query}")
        assert single.status_code == (200 if name in seen else 403)


async def test_a_report_may_be_of_one_team(ask, admin, make_user, world):
    path = f"GET /queries/{world['query']}/report"
    assert of(await ask(admin, path, team_id=str(world["team_a"]))) == ["a"]
    assert of(await ask(admin, path, team_id="0")) == ["none"]
    assert (await ask(admin, path, team_id="x")).status_code == 400
    assert "does not exist" in (await ask(admin, path, team_id="999")).text
    of_a = await make_user("observer", world["team_a"])
    assert of(await ask(of_a, path, team_id=str(world["team_a"]))) == ["a"]
    for kind in ("", "/export"):
        assert (await ask(of_a, f"{path}{kind}", team_id=str(world["team_b"]))).status_code == 403


async def test_a_query_of_another_team_is_refused_and_one_of_a_team_has_its_hosts_alone(
    ask, admin, make_user, fleet, world, report
):
    query = await fleet.query("users", world["team_a"])
    for name in ("a", "b", "none"):
        await report(query, world[name], {"of": name})
    of_b = await make_user("observer", world["team_b"])

    assert of(await ask(admin, f"GET /queries/{query}/report")) == ["a"]
    assert (await ask(admin, f"GET /hosts/{world['b']}/queries/{query}")).json()["last_fetched"] is None
    for path in (f"/queries/{query}/report", f"/queries/{query}/report/export", f"/hosts/{world['b']}/queries/{query}"):
        assert (await ask(of_b, f"GET {path}")).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"query": "SELECT 2"},
        {"platform": "linux"},
        {"min_osquery_version": "5.0.0"},
        {"logging": "differential"},
        {"discard_data": True},
    ],
)
async def test_a_report_is_empty_as_soon_as_its_query_is_not_what_it_was(ask, admin, world, change):
    query = world["query"]
    assert (await ask(admin, f"PATCH /queries/{query}", change)).status_code == 200
    back = {
        "query": "SELECT port FROM listening_ports",
        "platform": "",
        "min_osquery_version": "",
        "logging": "snapshot",
    }
    assert of(await ask(admin, f"GET /queries/{query}/report")) == []
    await ask(admin, f"PATCH /queries/{query}", {**back, "discard_data": False})

    assert of(await ask(admin, f"GET /queries/{query}/report")) == []
    assert (await ask(admin, f"GET /hosts/{world['a']}/queries/{query}")).json()["last_fetched"] is None


async def test_other_changes_keep_the_report(ask, admin, world):
    query = world["query"]
    changes = {"name": "open ports", "description": "x", "interval": 5, "query": "SELECT port FROM listening_ports"}
    assert (await ask(admin, f"PATCH /queries/{query}", changes)).status_code == 200

    assert of(await ask(admin, f"GET /queries/{query}/report")) == ["a", "b", "none"]


async def test_a_spec_that_asks_something_else_empties_the_report(ask, admin, world):
    same = {"name": "ports", "query": "SELECT port FROM listening_ports"}
    await ask(admin, "POST /spec/queries", {"specs": [same]})
    assert of(await ask(admin, f"GET /queries/{world['query']}/report")) == ["a", "b", "none"]
    await ask(admin, "POST /spec/queries", {"specs": [{**same, "query": "SELECT 2"}]})

    assert of(await ask(admin, f"GET /queries/{world['query']}/report")) == []


async def test_reports_that_are_turned_off_are_empty(ask, admin, world):
    off = {"server_settings": {"query_reports_disabled": True}}
    assert (await ask(admin, "PATCH /config", off)).status_code == 200

    assert of(await ask(admin, f"GET /queries/{world['query']}/report")) == []
    assert (await ask(admin, f"GET /hosts/{world['a']}/queries/{world['query']}")).json()["results"] == []


async def test_the_file_has_a_column_for_each_name_and_no_formula(ask, admin, fleet, report):
    query, first, second = await fleet.query("ports"), await fleet.host("=1+1"), await fleet.host("web-1")
    await report(query, first, {"port": "22", "cmd": "=HYPERLINK(1)"}, {"port": "-5"}, clipped=True)
    await report(query, second, {"host_id": "9", "port": "+x"})

    answer = await ask(admin, f"GET /queries/{query}/report/export")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="query-{query}-report.csv"'
    fetched = "2026-07-01T11:00:00Z"
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["host_id", "host_name", "hostname", "last_fetched", "report_clipped", "port", "cmd", "columns.host_id"],
        [str(first), "'=1+1", "'=1+1", fetched, "true", "22", "'=HYPERLINK(1)", ""],
        [str(first), "'=1+1", "'=1+1", fetched, "true", "-5", "", ""],
        [str(second), "web-1", "web-1", fetched, "false", "'+x", "", "9"],
    ]
    assert (await ask(admin, f"GET /queries/{query}/report/export", format="xml")).status_code == 422


async def test_columns_beyond_the_limit_share_one(ask, admin, fleet, report, monkeypatch):
    monkeypatch.setattr(query_reports, "MOST_COLUMNS", 1)
    query, host = await fleet.query("ports"), await fleet.host("h")
    await report(query, host, {"a": "1", "b": "2"}, {"a": "3"})

    lines = list(csv.reader(io.StringIO((await ask(admin, f"GET /queries/{query}/report/export")).text)))
    assert [line[5:] for line in lines] == [["a", "other_columns"], ["1", '{"b": "2"}'], ["3", ""]]


async def test_results_of_hosts_come_to_people(ask, admin, fleet, service_environment, bus_for, tmp_path):
    """A real log-shipper between the stream and the API."""
    host = await fleet.host("db-1")
    created = await ask(admin, "POST /queries", {"name": "ports", "query": "SELECT 1", "interval": 60})
    query = created.json()["query"]["id"]
    environment = service_environment("log_shipper") | {"FLOTILLA_BLOB_URL": (tmp_path / "blobs").as_uri()}
    async with running_service("log_shipper", environment=environment) as running:
        await running.ready()
        now = int(datetime.now(UTC).timestamp()) + 1
        line = json.dumps({"name": "pack/Global/ports", "snapshot": [{"port": 22}], "unixTime": now}).encode() + b"\n"
        manifest = {"v": 1, "type": "result", "segments": [[host, 0, now * 1000, 1, len(line)]]}
        body = json.dumps(manifest).encode() + b"\n" + line
        await (await bus_for("agent_gateway")).js.publish(subject("result", 3), body, headers={LINES_HEADER: "1"})

        async def shown():
            return [row["columns"] for row in (await ask(admin, f"GET /queries/{query}/report")).json()["results"]]

        assert await eventually(shown, timeout=20) == [{"port": "22"}]

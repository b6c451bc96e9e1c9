"""The ledger of a live query, host by host: shown in pages, filtered, taken away; and the list of live queries."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from admin_api.domain import campaign_ledgers
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import LedgerRow
from sqlalchemy import delete, update
from sqlmodel import col

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NONE_OF_THEM = {"denylisted": 0, "expired": 0, "cancelled": 0, "unreachable": 0}


@pytest.fixture
async def teams(make_team) -> tuple[int, int]:
    return await make_team("Own"), await make_team("Foreign")


@pytest.fixture
def note(database):
    """Write into a host's row of the ledger, as live-query would."""

    async def write(campaign: int, host: int, **values: object) -> None:
        async with database.sessions("live_query").begin() as session:
            row = update(LedgerRow).where(col(LedgerRow.campaign_id) == campaign, col(LedgerRow.host_id) == host)
            await session.execute(row.values(**values))

    return write


@pytest.fixture
async def three(fleet, live_query, note) -> tuple[int, list[int]]:
    """One host has answered, one has failed, one has taken the query and is silent."""
    hosts = [await fleet.host(name, computer_name=f"{name}'s") for name in "abc"]
    campaign = await live_query.campaign(hosts)
    stats = {"wall_time": 5}
    await note(
        campaign, hosts[0], state="answered", row_count=7, truncated=True, settled_at=NOW, offered_at=NOW, stats=stats
    )
    await note(campaign, hosts[1], state="failed", error="no such table", settled_at=NOW)
    await note(campaign, hosts[2], offered_at=NOW)
    return campaign, hosts


async def test_every_targeted_host_is_in_one_state(ask, admin, three):
    campaign, hosts = three

    answer = (await ask(admin, f"GET /campaigns/{campaign}/ledger")).json()

    assert answer["ledger"]["counts"] == {
        "targeted": 3, "answered": 1, "failed": 1, "pending": 1, "offered": 1, **NONE_OF_THEM
    }  # fmt: skip
    first, second, third = answer["ledger"]["hosts"]
    assert first == {
        "host_id": hosts[0], "hostname": "a", "display_name": "a's", "team_id": None, "state": "answered",
        "offered": False, "offered_at": "2026-01-02T03:04:05Z", "settled_at": "2026-01-02T03:04:05Z", "row_count": 7,
        "truncated": True, "error": None, "stats": {"wall_time": 5},
    }  # fmt: skip
    assert (second["state"], second["error"], second["truncated"]) == ("failed", "no such table", False)
    assert (third["state"], third["offered"], third["settled_at"]) == ("pending", True, None)
    assert answer["meta"] == {"has_next_results": False, "has_previous_results": False}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("state=answered", [0]),
        ("state=answered,failed", [0, 1]),
        ("state=pending", [2]),
        ("state=offered", [2]),
        ("state=offered,answered", [0, 2]),
        ("state=expired", []),
        ("query=no+such", [1]),
        ("query=B", [1]),
        ("order_key=row_count&order_direction=desc", [0, 1, 2]),
        ("order_key=hostname&order_direction=desc", [2, 1, 0]),
        ("per_page=1&page=1", [1]),
    ],
)
async def test_the_hosts_are_those_asked_for_and_the_counts_are_of_all(ask, admin, three, words, shown):
    campaign, hosts = three

    ledger = (await ask(admin, f"GET /campaigns/{campaign}/ledger", **dict(parse_qsl(words)))).json()["ledger"]

    assert [host["host_id"] for host in ledger["hosts"]] == [hosts[number] for number in shown]
    assert ledger["counts"]["targeted"] == 3


async def test_pages_follow_one_another_by_number_or_by_cursor(ask, admin, three):
    campaign, hosts = three
    path = f"GET /campaigns/{campaign}/ledger"
    first = (await ask(admin, path, per_page="2")).json()
    second = (await ask(admin, path, per_page="2", page="1")).json()
    after = (await ask(admin, path, per_page="2", order_key="host_id", after=str(hosts[1]))).json()

    assert [host["host_id"] for host in first["ledger"]["hosts"]] == hosts[:2]
    assert first["meta"] == {"has_next_results": True, "has_previous_results": False}
    assert second["meta"] == {"has_next_results": False, "has_previous_results": True}
    assert second["ledger"]["hosts"] == after["ledger"]["hosts"] != []


@pytest.mark.parametrize("words", ["state=lost", "order_key=error", "order_key=host_id&after=x"])
async def test_what_makes_no_sense_is_told(ask, admin, three, words):
    answer = await ask(admin, f"GET /campaigns/{three[0]}/ledger", **dict(parse_qsl(words)))

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["reason"]


@pytest.mark.parametrize("path", ["/campaigns/{}/ledger", "/campaigns/{}/results", "/campaigns"])
async def test_a_page_that_is_too_large_is_a_bad_request_everywhere(ask, admin, three, path):
    answer = await ask(admin, "GET " + path.format(three[0]), per_page="10001")

    assert (answer.status_code, answer.json()["message"]) == (400, "Bad request")
    assert "per_page" in answer.json()["errors"][0]["reason"]


async def test_deleted_and_foreign_hosts_are_counted_and_nothing_of_theirs_is_shown(
    ask, fleet, admin, live_query, make_user, teams, database, note
):
    member = await make_user("maintainer", teams[0])
    own, foreign, deleted = [await fleet.host(name, teams[team]) for name, team in (("a", 0), ("b", 1), ("c", 0))]
    campaign = await live_query.campaign([own, foreign, deleted], member.user_id)
    for host in (own, foreign, deleted):
        await note(campaign, host, state="failed", error=f"no table {host}", stats={"wall_time": 5}, settled_at=NOW)
    async with database.sessions("inventory").begin() as session:
        await session.execute(delete(Host).where(col(Host.id) == deleted))

    ledger = (await ask(member, f"GET /campaigns/{campaign}/ledger")).json()["ledger"]
    by_name = (await ask(member, f"GET /campaigns/{campaign}/ledger", query="b")).json()["ledger"]["hosts"]
    by_error = (await ask(member, f"GET /campaigns/{campaign}/ledger", query="no table")).json()["ledger"]["hosts"]
    exported = (await ask(member, f"GET /campaigns/{campaign}/ledger/export")).text
    whole = (await ask(admin, f"GET /campaigns/{campaign}/ledger", query="no table")).json()["ledger"]["hosts"]

    names = [(host["hostname"], host["display_name"], host["team_id"]) for host in ledger["hosts"]]
    assert names == [("a", "a", teams[0]), (None, None, None), (None, None, None)]
    assert [(host["error"], host["stats"]) for host in ledger["hosts"]] == [
        (f"no table {own}", {"wall_time": 5}), (None, None), (None, None)
    ]  # fmt: skip
    assert ledger["counts"]["targeted"] == 3
    assert [host["host_id"] for host in by_error] == [own]
    assert [host["host_id"] for host in by_name if host["host_id"] != own] == []
    assert f"no table {own}" in exported
    assert f"no table {foreign}" not in exported
    assert f"no table {deleted}" not in exported
    assert [(host["host_id"], host["error"]) for host in whole] == [
        (host, f"no table {host}") for host in (own, foreign, deleted)
    ]


async def test_neither_a_ledger_nor_its_order_tells_when_and_how_much_a_host_out_of_sight_answered(
    ask, admin, fleet, live_query, note, make_user, teams
):
    member = await make_user("maintainer", teams[0])
    hosts = [await fleet.host(name, teams[team]) for name, team in (("a", 0), ("b", 1), ("c", 0), ("d", 1))]
    campaign = await live_query.campaign(hosts, member.user_id)
    for place, rows in enumerate((5, 9, 7, 1)):
        times = {"offered_at": NOW + timedelta(hours=rows), "settled_at": NOW + timedelta(days=rows)}
        await note(campaign, hosts[place], state="answered", row_count=rows, truncated=True, **times)
    path, facts = f"GET /campaigns/{campaign}/ledger", ("row_count", "truncated", "offered_at", "settled_at")

    shown = (await ask(member, path)).json()["ledger"]["hosts"]
    whole = (await ask(admin, path)).json()["ledger"]["hosts"]
    exported = list(csv.DictReader(io.StringIO((await ask(member, f"{path}/export")).text, newline="")))

    assert [[host[fact] for fact in facts] for host in shown[1::2]] == [[None] * 4] * 2
    assert [host["state"] for host in shown] == ["answered"] * 4
    assert shown[0]["row_count"] == 5
    assert [host["row_count"] for host in whole] == [5, 9, 7, 1]
    assert [[row[fact] for fact in facts] for row in exported[1::2]] == [[""] * 4] * 2
    for key in ("row_count", "offered_at", "settled_at"):
        for direction in ("asc", "desc"):
            answer = await ask(member, path, order_key=key, order_direction=direction)
            order = [host["host_id"] for host in answer.json()["ledger"]["hosts"]]
            mine = [hosts[0], hosts[2]] if direction == "asc" else [hosts[2], hosts[0]]
            assert [host for host in order if host in mine] == mine
            assert [host for host in order if host not in mine] == [hosts[1], hosts[3]]
    beyond = await ask(member, path, order_key="row_count", after="6")
    assert [host["host_id"] for host in beyond.json()["ledger"]["hosts"]] == [hosts[2]]


@pytest.mark.parametrize("path", ["ledger", "ledger/export"])
async def test_who_may_not_watch_sees_no_ledger(ask, fleet, admin, live_query, make_user, teams, path):
    member = await make_user("maintainer", teams[0])
    campaign = await live_query.campaign([await fleet.host("b", teams[1])])

    assert (await ask(member, f"GET /campaigns/{campaign}/{path}")).status_code == 403
    assert (await ask(admin, f"GET /campaigns/{campaign + 1}/{path}")).status_code == 404


async def test_a_ledger_is_taken_away_as_csv_and_holds_no_formula(ask, fleet, admin, live_query, note, monkeypatch):
    monkeypatch.setattr(campaign_ledgers, "PAGE", 2)
    names = ["a", "=1+1", "@x", "d"]
    hosts = [await fleet.host(name) for name in names]
    campaign = await live_query.campaign(hosts)
    await note(campaign, hosts[3], state="failed", error='-2,"x"\nnext', settled_at=NOW)

    answer = await ask(admin, f"GET /campaigns/{campaign}/ledger/export")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="campaign-{campaign}-ledger.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [int(row["host_id"]) for row in rows] == hosts
    assert [row["hostname"] for row in rows] == ["a", "'=1+1", "'@x", "d"]
    assert (rows[3]["state"], rows[3]["error"], rows[3]["settled_at"]) == (
        "failed", "'-2,\"x\"\nnext", "2026-01-02T03:04:05Z"
    )  # fmt: skip
    assert (rows[0]["state"], rows[0]["truncated"], rows[0]["settled_at"]) == ("pending", "false", "")


async def test_a_ledger_is_taken_away_as_json_in_the_shape_that_is_shown(ask, admin, three, monkeypatch):
    monkeypatch.setattr(campaign_ledgers, "PAGE", 2)
    campaign = three[0]
    path = f"GET /campaigns/{campaign}/ledger"

    whole = (await ask(admin, f"{path}/export", format="json")).json()
    some = (await ask(admin, f"{path}/export", format="json", state="failed")).json()
    none = (await ask(admin, f"{path}/export", format="json", state="expired")).json()
    shown = (await ask(admin, path)).json()["ledger"]

    assert whole["ledger"] == shown
    assert some["ledger"]["hosts"] == shown["hosts"][1:2]
    assert none["ledger"] == {"counts": shown["counts"], "hosts": []}
    assert (await ask(admin, f"{path}/export", format="xml")).status_code == 422


async def test_live_queries_are_listed_the_newest_first(ask, fleet, admin, live_query):
    host = await fleet.host("a")
    campaigns = [await live_query.campaign([host], sql=f"SELECT {number}") for number in range(3)]
    await live_query.complete(campaigns[1])

    listed = (await ask(admin, "GET /campaigns")).json()
    ended = (await ask(admin, "GET /campaigns", status="complete")).json()["campaigns"]
    paged = (await ask(admin, "GET /campaigns", per_page="1", page="1")).json()
    found = (await ask(admin, "GET /campaigns", query="SELECT 2")).json()["campaigns"]

    assert [campaign["id"] for campaign in listed["campaigns"]] == campaigns[::-1]
    assert listed["campaigns"][0]["hosts"] == {"targeted": 1}
    assert [campaign["id"] for campaign in ended] == [campaigns[1]]
    assert [campaign["id"] for campaign in paged["campaigns"]] == [campaigns[1]]
    assert paged["meta"] == {"has_next_results": True, "has_previous_results": True}
    assert [campaign["id"] for campaign in found] == [campaigns[2]]
    assert (await ask(admin, "GET /campaigns", status="lost")).status_code == 422


async def test_who_may_not_run_sql_everywhere_sees_own_live_queries_only(ask, fleet, live_query, make_user, teams):
    member = await make_user("maintainer", teams[0])
    host = await fleet.host("a", teams[0])
    own = await live_query.campaign([host], member.user_id)
    await live_query.campaign([host], 1)

    listed = (await ask(member, "GET /campaigns")).json()["campaigns"]

    assert [campaign["id"] for campaign in listed] == [own]

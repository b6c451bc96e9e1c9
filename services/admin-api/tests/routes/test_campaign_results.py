"""Rows of a live query over REST: in pages by cursor, of one host, as files; from the archive and from Redis."""

from __future__ import annotations

import csv
import io
import json

import pytest
from admin_api.domain import result_pages
from admin_api.domain.result_pages import ResultReader
from admin_api.routes import campaign_results
from flotilla_common.db.models.inventory import Host
from flotilla_common.errors import Unavailable
from sqlalchemy import delete
from sqlmodel import col

from .archiving import Archivist

WRITTEN = "2026-01-02T03:04:05+00:00"
AT = "2026-01-02T03:04:05Z"


@pytest.fixture
def archivist(live_query, deps) -> Archivist:
    return Archivist(live_query, deps.blobs)


@pytest.fixture
async def campaign(fleet, live_query):
    """Four hosts: three rows, none, a failure, two rows of another shape; the first two are archived in the tests."""
    hosts = [await fleet.host(name, computer_name=f"{name}'s") for name in "abcd"]
    number = await live_query.campaign(hosts)
    await live_query.answer(number, hosts[0], [{"n": str(n)} for n in range(3)], settled_at=WRITTEN)
    await live_query.answer(number, hosts[1], [], settled_at=WRITTEN)
    await live_query.answer(number, hosts[2], [], "failed", error="no such table", settled_at=WRITTEN)
    await live_query.answer(number, hosts[3], [{"m": "=1+1", "n": "x"}, {"m": "2"}], settled_at=WRITTEN)
    return number, hosts


async def follow(ask, member, number, **words):
    """All pages, one after the other."""
    after, pages = "", []
    while True:
        answer = (await ask(member, f"GET /campaigns/{number}/results", after=after, **words)).json()
        pages.append(answer["results"]["rows"])
        after = answer["meta"]["next"]
        if not answer["meta"]["has_next_results"]:
            return pages, after


@pytest.mark.parametrize("archived", [0, 1, 3, 4])
@pytest.mark.parametrize(("per_page", "sizes"), [("1", [1] * 5), ("2", [2, 2, 1]), ("4", [4, 1]), ("1000", [5])])
async def test_pages_follow_one_another_wherever_rows_are(
    ask, admin, live_query, campaign, archivist, archived, per_page, sizes
):
    number, hosts = campaign
    if archived:
        await archivist.segment(number, archived)
    if archived == 4:
        await live_query.end(number)
        await archivist.finish(number)

    pages, _ = await follow(ask, admin, number, per_page=per_page)

    rows = [row for page in pages for row in page]
    assert [row["columns"] for row in rows] == [
        {"n": "0"}, {"n": "1"}, {"n": "2"}, {"m": "=1+1", "n": "x"}, {"m": "2"}
    ]  # fmt: skip
    assert [row["host_id"] for row in rows] == [hosts[0]] * 3 + [hosts[3]] * 2
    assert rows[0] == {
        "host_id": hosts[0], "hostname": "a", "display_name": "a's", "team_id": None, "settled_at": AT,
        "columns": {"n": "0"},
    }  # fmt: skip
    assert [len(page) for page in pages if page] == sizes


async def test_a_page_that_breaks_an_answer_goes_on_after_it_has_moved(ask, admin, live_query, campaign, archivist):
    number, _ = campaign
    path = f"GET /campaigns/{number}/results"
    first = (await ask(admin, path, per_page="2")).json()
    await live_query.end(number)
    await archivist.segment(number, 4)
    await archivist.finish(number)

    second = (await ask(admin, path, per_page="2", after=first["meta"]["next"])).json()

    assert [row["columns"] for row in second["results"]["rows"]] == [{"n": "2"}, {"m": "=1+1", "n": "x"}]
    assert (first["results"]["status"], second["results"]["status"]) == ("running", "complete")


async def test_a_running_one_goes_on_where_the_last_page_ended(ask, admin, fleet, live_query):
    hosts = [await fleet.host(name) for name in "ab"]
    number = await live_query.campaign(hosts)
    nothing, after = await follow(ask, admin, number)
    await live_query.answer(number, hosts[0])
    _, after = await follow(ask, admin, number)
    await live_query.answer(number, hosts[1], [{"late": "1"}])

    answer = (await ask(admin, f"GET /campaigns/{number}/results", after=after)).json()

    assert nothing == [[]]
    assert [row["columns"] for row in answer["results"]["rows"]] == [{"late": "1"}]


@pytest.mark.parametrize("archived", [False, True])
async def test_rows_of_one_host(ask, admin, fleet, live_query, archivist, archived):
    hosts = [await fleet.host(f"h{number}") for number in range(9)]
    number = await live_query.campaign(hosts)
    for host in hosts:
        await live_query.answer(number, host, [{"of": str(host)}, {"of": "again"}])
    if archived:
        for _ in range(4):
            await archivist.segment(number, 2)

    found = [await follow(ask, admin, number, host_id=str(host)) for host in (hosts[0], hosts[5], hosts[8])]
    nobody = [(await follow(ask, admin, number, host_id=str(host)))[0] for host in (4444, 2**32, 2**63 - 1)]
    of_nobody = await ask(admin, f"GET /campaigns/{number}/results/export", host_id=str(2**32))
    halves, _ = await follow(ask, admin, number, host_id=str(hosts[5]), per_page="1")
    exported = (await ask(admin, f"GET /campaigns/{number}/results/export", host_id=str(hosts[5]))).text

    of = [[row["columns"]["of"] for page in pages for row in page] for pages, _ in found]
    assert of == [[str(host), "again"] for host in (hosts[0], hosts[5], hosts[8])]
    assert nobody == [[[]]] * 3
    assert (of_nobody.status_code, len(of_nobody.text.splitlines())) == (200, 1)
    assert [row["columns"]["of"] for page in halves for row in page] == [str(hosts[5]), "again"]
    assert len(exported.splitlines()) == 3


async def test_segments_that_lack_a_host_are_not_fetched(ask, admin, fleet, live_query, archivist, deps, monkeypatch):
    hosts = [await fleet.host(f"h{number}") for number in range(6)]
    number = await live_query.campaign(hosts)
    for host in hosts:
        await live_query.answer(number, host)
    names = [await archivist.segment(number, 2) for _ in range(3)]
    fetched, real = [], type(deps.archive.files).get

    async def get(self, blobs, name):
        fetched.append(name)
        return await real(self, blobs, name)

    monkeypatch.setattr(type(deps.archive.files), "get", get)

    await follow(ask, admin, number, host_id=str(hosts[5]))

    assert set(fetched) == {names[2]}


async def test_hosts_out_of_sight_are_left_out(
    ask, admin, fleet, live_query, make_team, make_user, archivist, database
):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    member = await make_user("maintainer", own)
    hosts = [await fleet.host(name, team) for name, team in (("a", own), ("b", foreign), ("c", own))]
    number = await live_query.campaign(hosts, member.user_id)
    for host in hosts:
        await live_query.answer(number, host, [{"of": str(host)}])
    await archivist.segment(number, 2)
    async with database.sessions("inventory").begin() as session:
        await session.execute(delete(Host).where(col(Host.id) == hosts[2]))

    shown, _ = await follow(ask, member, number)
    of_foreign, _ = await follow(ask, member, number, host_id=str(hosts[1]))
    exports = [
        (await ask(member, f"GET /campaigns/{number}/results/export", format=kind)).text for kind in ("csv", "json")
    ]
    whole, _ = await follow(ask, admin, number)

    assert [row["host_id"] for page in shown for row in page] == hosts[:1]
    assert of_foreign == [[]]
    assert all("Foreign" not in text and f'"{hosts[1]}"' not in text for text in exports)
    assert [(row["host_id"], row["hostname"]) for page in whole for row in page] == [
        (hosts[0], "a"), (hosts[1], "b"), (hosts[2], None)
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["results", "results/export"])
async def test_who_may_not_watch_sees_no_results(ask, fleet, admin, live_query, make_team, make_user, path):
    member = await make_user("maintainer", await make_team("Own"))
    number = await live_query.campaign([await fleet.host("b", await make_team("Foreign"))])

    assert (await ask(member, f"GET /campaigns/{number}/{path}")).status_code == 403
    assert (await ask(admin, f"GET /campaigns/{number + 1}/{path}")).status_code == 404


@pytest.mark.parametrize(
    "words",
    [{"after": "x"}, {"after": "1-"}, {"after": "1-2.x"}, {"after": "9" * 19 + "-1"}, {"per_page": "0"},
     {"per_page": "10001"}, {"host_id": "0"}, {"host_id": "x"}],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(ask, admin, campaign, words):
    answer = await ask(admin, f"GET /campaigns/{campaign[0]}/results", **words)

    assert answer.status_code in {400, 422}


async def test_a_file_has_a_column_for_each_name_and_no_formula(ask, admin, campaign, archivist):
    number, hosts = campaign
    await archivist.segment(number, 2)

    answer = await ask(admin, f"GET /campaigns/{number}/results/export")
    odd = await ask(admin, f"GET /campaigns/{number}/results/export", format="xml")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="campaign-{number}-results.csv"'
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert rows[0] == ["host_id", "hostname", "display_name", "team_id", "settled_at", "n", "m"]
    assert rows[1] == [str(hosts[0]), "a", "a's", "", AT, "0", ""]
    assert rows[4][5:] == ["x", "'=1+1"]
    assert rows[5][5:] == ["", "2"]
    assert len(rows) == 6
    assert odd.status_code == 422


async def test_what_hosts_call_like_a_column_of_ours_has_another_name(ask, admin, fleet, live_query):
    host = await fleet.host("a")
    number = await live_query.campaign([host])
    await live_query.answer(number, host, [{"hostname": "evil", "host_id": "99", "Team_ID": "7", "port": "22"}])

    text = (await ask(admin, f"GET /campaigns/{number}/results/export")).text

    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["host_id"], row["hostname"], row["team_id"]) == (str(host), "a", "")
    assert (row["columns.host_id"], row["columns.hostname"], row["columns.Team_ID"]) == ("99", "evil", "7")
    assert row["port"] == "22"


async def test_a_file_begins_before_all_has_been_read(fleet, live_query, archivist, deps, monkeypatch):
    hosts = [await fleet.host(f"h{number}") for number in range(6)]
    number = await live_query.campaign(hosts)
    for host in hosts:
        await live_query.answer(number, host, [{"a": "1", f"of {host}": "x"}])
    names = [await archivist.segment(number, 2) for _ in range(3)]
    fetched, real = [], type(deps.archive.files).get

    async def get(self, blobs, name):
        fetched.append(name)
        return await real(self, blobs, name)

    monkeypatch.setattr(type(deps.archive.files), "get", get)
    parts = campaign_results.as_csv(ResultReader(deps.sessions, deps.results, number, None))

    first = await anext(parts)
    read_before, rest = set(fetched), [part async for part in parts]

    assert first == f"host_id,hostname,display_name,team_id,settled_at,a,of {hosts[0]}".encode()
    assert read_before == {names[0]}
    assert (first + b"".join(rest)).splitlines()[0].decode().split(",")[6:] == [f"of {host}" for host in hosts]


async def test_more_columns_than_a_file_has_are_in_its_last_one(ask, admin, fleet, live_query, monkeypatch):
    monkeypatch.setattr(campaign_results, "MOST_COLUMNS", 2)
    hosts = [await fleet.host(name) for name in "ab"]
    number = await live_query.campaign(hosts)
    await live_query.answer(number, hosts[0], [{"a": "1", "b": "2"}])
    await live_query.answer(number, hosts[1], [{"b": "3", "c": "=4", "other_columns": "5"}])

    text = (await ask(admin, f"GET /campaigns/{number}/results/export")).text

    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert (first["a"], first["b"], first["other_columns"]) == ("1", "2", "")
    assert (second["a"], second["b"]) == ("", "3")
    assert json.loads(second["other_columns"]) == {"c": "=4", "other_columns": "5"}


@pytest.mark.parametrize("write", [campaign_results.as_csv, campaign_results.as_json])
async def test_a_large_answer_is_written_in_pieces(fleet, live_query, deps, write):
    host = await fleet.host("a")
    number = await live_query.campaign([host])
    await live_query.answer(number, host, [{"n": f"row-{n}", "x": "y" * 50} for n in range(10_000)])

    parts = [part async for part in write(ResultReader(deps.sessions, deps.results, number, None))]

    assert b"".join(parts).count(b"row-") == 10_000
    assert max(map(len, parts)) < 64 * 1024


@pytest.mark.parametrize("write", [campaign_results.as_csv, campaign_results.as_json])
async def test_rows_that_go_while_a_file_is_made_make_no_whole_file(fleet, live_query, archivist, deps, write):
    hosts = [await fleet.host(name) for name in "ab"]
    number = await live_query.campaign(hosts)
    for host in hosts:
        await live_query.answer(number, host)
        await archivist.segment(number, 1)
    parts = write(ResultReader(deps.sessions, deps.results, number, None))
    await anext(parts)
    await archivist.remove(number)

    with pytest.raises(Unavailable):
        _ = [part async for part in parts]


async def test_json_has_the_shape_that_is_shown(ask, admin, campaign, archivist):
    number, _ = campaign
    await archivist.segment(number, 1)
    pages, _ = await follow(ask, admin, number)

    exported = (await ask(admin, f"GET /campaigns/{number}/results/export", format="json")).json()

    assert exported["results"]["rows"] == pages[0]


async def test_a_page_ends_where_it_is_large_or_has_passed_over_much(
    ask, fleet, admin, live_query, make_team, make_user, monkeypatch
):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    member = await make_user("maintainer", own)
    hosts = [await fleet.host(f"h{n}", own if n > 3 else foreign) for n in range(6)]
    number = await live_query.campaign(hosts, member.user_id)
    for host in hosts:
        await live_query.answer(number, host, [{"x": "y" * 100}])
    monkeypatch.setattr(result_pages, "LOOKED_AT_BYTES", 200)

    passing, _ = await follow(ask, member, number)
    monkeypatch.setattr(result_pages, "PAGE_BYTES", 100)
    large, _ = await follow(ask, admin, number)

    assert [len(page) for page in passing] == [0, 0, 2]
    assert [len(page) for page in large] == [1] * 6


async def test_removed_results_say_so(ask, admin, live_query, campaign, archivist):
    number, _ = campaign
    await live_query.end(number)
    await archivist.segment(number, 4)
    await archivist.finish(number)
    await archivist.remove(number)

    answer = (await ask(admin, f"GET /campaigns/{number}/results")).json()

    assert answer["results"]["rows"] == []
    assert answer["results"]["removed_at"] is not None
    assert not answer["meta"]["has_next_results"]


async def test_a_file_of_removed_results_is_whole(ask, admin, live_query, campaign, archivist):
    number, _ = campaign
    await live_query.end(number)
    await archivist.segment(number, 4)
    await archivist.finish(number)
    await archivist.remove(number)

    exported = (await ask(admin, f"GET /campaigns/{number}/results/export", format="json")).json()

    assert exported == {"results": {"rows": [], "missing": []}}


async def test_a_page_during_which_results_go_says_so(ask, admin, campaign, archivist, deps, monkeypatch):
    number, _ = campaign
    real = ResultReader.page

    async def page(self, after, limit):
        await archivist.remove(number)
        return await real(self, after, limit)

    monkeypatch.setattr(ResultReader, "page", page)
    answer = (await ask(admin, f"GET /campaigns/{number}/results")).json()

    assert answer["results"]["rows"] == []
    assert answer["results"]["removed_at"] is not None


async def test_a_time_that_is_none_is_shown_as_it_is(ask, admin, fleet, live_query):
    host = await fleet.host("a")
    number = await live_query.campaign([host])
    await live_query.answer(number, host, settled_at="2026-01-02T05:04:05.500000+02:00")
    odd = await live_query.campaign([host])
    await live_query.answer(odd, host, settled_at="soon")

    shown = [(await follow(ask, admin, campaign))[0][0][0]["settled_at"] for campaign in (number, odd)]

    assert shown == ["2026-01-02T03:04:05.500000Z", "soon"]

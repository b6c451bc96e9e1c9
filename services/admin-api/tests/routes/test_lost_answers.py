"""Archived answers that nobody can read any more: everybody is told which, and gets the others."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pyarrow.parquet
import pytest
from admin_api import metrics
from admin_api.domain.result_pages import ResultReader
from admin_api.routes import campaign_feed, live_answers
from admin_api.routes.campaign_results import as_csv
from admin_api.routes.live_answers import Answers
from admin_api.store import unreadable_segments
from admin_api.store.campaign_segments import SegmentFiles
from admin_api.store.unreadable_segments import UnreadableSegments
from flotilla_common import campaign_archive
from flotilla_common.contracts.campaigns import CampaignStartedV1, TargetCounts
from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.errors import Unavailable

from .archiving import Archivist


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(campaign_feed, "NEWS_SECONDS", 0.1)
    monkeypatch.setattr(campaign_feed, "OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr(campaign_archive, "GROUP_BYTES", 1)  # one answer
    monkeypatch.setattr(unreadable_segments, "PATIENCE_SECONDS", 0.0)
    real = pyarrow.parquet.ParquetWriter
    monkeypatch.setattr(pyarrow.parquet, "ParquetWriter", lambda *a, **how: real(*a, **how | {"compression": "none"}))


@pytest.fixture
def archivist(live_query, deps) -> Archivist:
    return Archivist(live_query, deps.blobs)


@pytest.fixture
async def campaign(fleet, live_query, archivist):
    """Ten answers: four and three of them in segments, three in Redis."""
    hosts = [await fleet.host(f"h{number}") for number in range(10)]
    number = await live_query.campaign(hosts)
    for place, host in enumerate(hosts):
        await live_query.answer(number, host, [{"n": f"{place}" * 50}])
    places = [place.decode() for place, _ in await live_query.redis.xrange(campaign_rows(number))]
    names = [await archivist.segment(number, answers) for answers in (4, 3)]
    return number, hosts, places, names


async def spoil(blobs, name, *, place):
    """Change one byte of an answer's rows."""
    data = bytearray(await blobs.get(name))
    data[data.index(f"{place}".encode() * 50) + 9] ^= 1
    await blobs.put(name, bytes(data))


LOSSES = {  # how the second segment is hurt -> the answers that are lost, and how many are said to be
    "missing": ([4, 5, 6], 3),
    "cut": ([4, 5, 6], 3),
    "first": ([4], 1),
    "middle": ([5], 1),
    "last": ([6], 1),
}


async def hurt(deps, name, how):
    if how == "missing":
        await deps.blobs.delete([name])
    elif how == "cut":
        await deps.blobs.put(name, (await deps.blobs.get(name))[:-30])
    else:
        await spoil(deps.blobs, name, place={"first": 4, "middle": 5, "last": 6}[how])


@pytest.mark.parametrize("how", sorted(LOSSES))
async def test_a_viewer_is_told_what_is_lost_and_gets_the_rest(how, deps, admin, live_query, watching, campaign):
    number, hosts, places, names = campaign
    lost, said = LOSSES[how]
    await hurt(deps, names[1], how)
    await live_query.end(number)

    found = []
    async with watching(admin, number) as viewer:
        while not found or found[-1]["type"] != "status" or found[-1]["data"]["status"] != "finished":
            found.append(await viewer.next())

    results = [item["data"]["host"]["id"] for item in found if item["type"] == "result"]
    [missing] = [item for item in found if item["type"] == "missing"]
    assert results == [host for place, host in enumerate(hosts) if place not in lost]
    assert missing["data"]["after"] == places[lost[0] - 1]
    assert places[lost[-1]] <= missing["data"]["last"] == missing["position"] < places[lost[-1] + 1]
    assert missing["data"]["answers"] == said
    assert missing["data"]["reason"] == ("missing" if how == "missing" else "damaged")
    assert found[-1]["data"]["actual_results"] == 10


@pytest.mark.parametrize("how", ["missing", "middle"])
async def test_who_goes_on_from_behind_the_loss_is_not_told_again(how, deps, campaign):
    number, hosts, _, names = campaign
    await hurt(deps, names[1], how)
    position, told, read = "0-0", [], []
    while found := await deps.results.now(number, position, count=1):
        entry = found[0]  # one at a time, as from a connection that breaks after each
        told += [entry.missing] if entry.missing is not None else []
        read += [entry.host_id] if entry.missing is None else []
        position = entry.position

    assert len(told) == 1
    assert read == [host for place, host in enumerate(hosts) if place not in LOSSES[how][0]]


async def test_pages_and_files_say_what_is_lost(deps, ask, admin, campaign):
    number, hosts, places, names = campaign
    await hurt(deps, names[1], "missing")
    gap = {"after": places[3], "last": places[6], "answers": 3, "reason": "missing"}

    page = (await ask(admin, f"GET /campaigns/{number}/results")).json()["results"]
    of_one = (await ask(admin, f"GET /campaigns/{number}/results", host_id=str(hosts[5]))).json()["results"]
    of_another = (await ask(admin, f"GET /campaigns/{number}/results", host_id=str(hosts[1]))).json()["results"]
    text = (await ask(admin, f"GET /campaigns/{number}/results/export", format="json")).json()["results"]
    table = list(csv.reader(io.StringIO((await ask(admin, f"GET /campaigns/{number}/results/export")).text)))

    left = [host for place, host in enumerate(hosts) if place not in (4, 5, 6)]
    assert [row["host_id"] for row in page["rows"]] == [row["host_id"] for row in text["rows"]] == left
    assert page["missing"] == text["missing"] == of_one["missing"] == [gap]
    assert (of_one["rows"], of_another["missing"]) == ([], [])
    assert table[0][-1] == "missing answers"
    assert {len(row) for row in table} == {len(table[0])}
    assert [row[0] for row in table[1:]] == [*map(str, left[:4]), "", *map(str, left[4:])]
    assert table[5][-1] == f"3 answers at most, missing: behind {places[3]}, up to {places[6]}"


async def test_an_aggregate_says_how_many_are_lost(deps, ask, admin, campaign):
    number, _, _, names = campaign
    await hurt(deps, names[0], "cut")

    answer = (await ask(admin, f"GET /campaigns/{number}/aggregate", group_by="n")).json()["aggregate"]

    assert (answer["hosts"], answer["missing"]) == (6, 4)


async def test_each_failed_reading_is_counted(deps, campaign):
    number, _, _, names = campaign
    await hurt(deps, names[0], "missing")
    count = metrics.UNREADABLE_SEGMENTS.labels("missing")._value
    before = count.get()
    await deps.results.now(number, "0-0")

    assert count.get() == before + 1


async def test_a_segment_that_was_repaired_is_read_again(deps, campaign, monkeypatch):
    number, hosts, _, names = campaign
    data = await deps.blobs.get(names[0])
    await spoil(deps.blobs, names[0], place=0)
    hurt_once = await deps.results.now(number, "0-0")
    await deps.blobs.put(names[0], data)
    monkeypatch.setattr(unreadable_segments, "LOOK_SECONDS", 0.0)
    await deps.results.now(number, "0-0")  # notices that the file is as bad as before, and fetches it the next time

    assert hurt_once[0].missing is not None
    assert (await deps.results.now(number, "0-0"))[0].host_id == hosts[0]


def test_a_segment_is_waited_for_before_it_is_given_up(monkeypatch):
    monkeypatch.setattr(unreadable_segments, "PATIENCE_SECONDS", 30.0)
    now = [1000.0]
    monkeypatch.setattr(unreadable_segments.time, "monotonic", lambda: now[0])
    segments = UnreadableSegments()
    outcomes = []
    for seconds in (0, 29, 2, 599, 601, 29, 2):
        now[0] += seconds
        try:
            segments.note("one", "missing")
            outcomes.append("given up")
        except Unavailable:
            outcomes.append("waited for")

    assert outcomes == ["waited for", "waited for", "given up", "given up", "waited for", "waited for", "given up"]


async def test_a_synchronous_run_fails_where_answers_are_lost(deps, campaign):
    number, _, _, names = campaign
    await hurt(deps, names[0], "missing")
    counts = TargetCounts(total=10, online=10, offline=0, missing_in_action=0, new=0)
    started = CampaignStartedV1(campaign_id=number, created_at=datetime.now(UTC), counts=counts)

    with pytest.raises(Unavailable, match="lost"):
        await live_answers._read(deps, started, Answers(deps.results, number))


async def test_a_synchronous_run_breaks_off_where_answers_are_lost_before_they_are_sent(deps, campaign, monkeypatch):
    monkeypatch.setattr(live_answers, "HELD_BYTES", 0)
    number, _, _, names = campaign
    answers = Answers(deps.results, number)
    answers.add(await every_answer(deps, number))
    await hurt(deps, names[1], "middle")

    with pytest.raises(Unavailable, match="9 of 10"):
        [found async for found in answers.objects()]


async def every_answer(deps, number):
    """Read all there are."""
    found, position = [], "0-0"
    while entries := await deps.results.now(number, position):
        found += entries
        position = entries[-1].position
    deps.results.archive.files = SegmentFiles()  # what was read is not in memory any more
    return found


async def first_line(parts):
    line = b""
    while not line.endswith(b"\n"):
        line += await anext(parts)
    return line


async def test_a_csv_file_without_a_column_for_it_breaks_off_where_answers_are_lost(deps, campaign):
    number, _, _, names = campaign
    parts = as_csv(ResultReader(deps.sessions, deps.results, number, None))
    line = await first_line(parts)
    deps.results.archive.files.forget(names[1])
    await hurt(deps, names[1], "middle")

    with pytest.raises(Unavailable, match="lost meanwhile"):
        [part async for part in parts]
    assert line.endswith(b",settled_at,n\r\n")


async def test_a_csv_file_breaks_off_where_answers_with_new_columns_were_repaired(deps, fleet, live_query, archivist):
    hosts = [await fleet.host(name) for name in "ab"]
    number = await live_query.campaign(hosts)
    for host, name in zip(hosts, "xy", strict=True):
        await live_query.answer(number, host, [{name: "1"}])
    names = [await archivist.segment(number, 1) for _ in hosts]
    data = await deps.blobs.get(names[1])
    await deps.blobs.delete([names[1]])
    parts = as_csv(ResultReader(deps.sessions, deps.results, number, None))
    line = await first_line(parts)
    await deps.blobs.put(names[1], data)

    with pytest.raises(Unavailable, match="can be read again"):
        [part async for part in parts]
    assert line.endswith(b",settled_at,x,missing answers\r\n")

"""Viewers of campaigns whose answers are in the archive, in Redis, or in both: each answer once, from any position."""

from __future__ import annotations

import pytest
from admin_api.routes import campaign_feed
from admin_api.store import campaign_rows, campaign_segments
from flotilla_common import campaign_archive
from flotilla_common.blobs import Blobs
from flotilla_common.errors import Unavailable
from flotilla_common.testing.waiting import eventually

from .archiving import Archivist


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(campaign_feed, "NEWS_SECONDS", 0.1)
    monkeypatch.setattr(campaign_feed, "OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr(campaign_archive, "GROUP_BYTES", 700)  # two answers or three


@pytest.fixture
def archivist(live_query, deps) -> Archivist:
    return Archivist(live_query, deps.blobs)


@pytest.fixture
async def campaign(fleet, live_query):
    """A campaign with ten hosts that have answered, in their order, one of them with no rows and one with an error."""
    hosts = [await fleet.host(f"h{number}") for number in range(10)]
    number = await live_query.campaign(hosts)
    for place, host in enumerate(hosts):
        if place == 3:
            await live_query.answer(number, host, [])
        elif place == 5:
            await live_query.answer(number, host, [], "failed", error="no such table")
        else:
            await live_query.answer(number, host, [{"n": str(place), f"own_{place}": "ü"}])
    return number, hosts


async def arrange(archivist, live_query, number, how):
    if how in {"half", "uncut"}:
        await archivist.segment(number, 4)
        await archivist.segment(number, 3, cut=how == "half")
    if how in {"ended", "archived"}:
        await live_query.end(number)
    if how == "archived":
        for answers in (4, 3, 3):
            await archivist.segment(number, answers)
        await archivist.finish(number)


async def seen_by(viewer, number):
    """(host, rows, position) of so many results."""
    results = [await viewer.next("result") for _ in range(number)]
    return [(r["data"]["host"]["id"], r["data"]["rows"], r["position"]) for r in results]


@pytest.mark.parametrize("how", ["half", "uncut", "ended", "archived"])
async def test_a_viewer_sees_the_same_wherever_answers_are(how, admin, live_query, watching, campaign, archivist):
    number, hosts = campaign
    async with watching(admin, number) as viewer:
        before = await seen_by(viewer, 10)
    await arrange(archivist, live_query, number, how)

    async with watching(admin, number) as viewer:
        after = await seen_by(viewer, 10)

    assert [host for host, _, _ in before] == hosts
    assert after == before


@pytest.mark.parametrize("how", ["half", "uncut", "archived"])
@pytest.mark.parametrize("place", [0, 1, 3, 4, 6, 8])
async def test_a_viewer_goes_on_from_any_position(how, place, admin, live_query, watching, campaign, archivist):
    number, _ = campaign
    async with watching(admin, number) as viewer:
        before = await seen_by(viewer, 10)
    await arrange(archivist, live_query, number, how)

    async with watching(admin, number, last=before[place][2]) as viewer:
        after = await seen_by(viewer, 9 - place)
        if how != "archived":
            await live_query.end(number)
        while (status := (await viewer.next("status"))["data"])["status"] != "finished":
            pass

    assert after == before[place + 1 :]
    assert (status["actual_results"], status["count_of_hosts_with_results"]) == (10, 8)
    assert status["count_of_hosts_with_no_results"] == 1


async def test_who_goes_on_in_redis_asks_postgres_nothing(deps, campaign, archivist, monkeypatch):
    number, hosts = campaign
    await archivist.segment(number, 4)
    [fifth, *others] = await campaign_rows.read(deps.redis, number, campaign_rows.START, block_ms=None)

    async def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(campaign_segments, "following", refuse)
    monkeypatch.setattr(campaign_segments, "state", refuse)
    following = await deps.results.now(number, fifth.position)

    assert [fifth.host_id, *(entry.host_id for entry in following)] == hosts[4:]
    assert following == others


async def test_finished_is_said_after_the_last_answer_of_the_archive(admin, live_query, watching, campaign, archivist):
    number, hosts = campaign
    await arrange(archivist, live_query, number, "archived")

    kinds = []
    async with watching(admin, number) as viewer:
        while not kinds or kinds[-1] != "finished":
            found = await viewer.next()
            kinds.append(found["data"].get("status", "") if found["type"] == "status" else found["type"])

    assert kinds.count("result") == len(hosts)
    assert "finished" not in kinds[:-1]


async def test_answers_that_move_while_a_viewer_reads_come_once(admin, live_query, watching, campaign, archivist):
    number, hosts = campaign
    async with watching(admin, number) as viewer:
        first = await seen_by(viewer, 2)
        for answers in (4, 3, 3):
            await archivist.segment(number, answers)
        rest = await seen_by(viewer, 8)
        await live_query.answer(number, hosts[0], [{"n": "again"}])  # whatever comes next: nothing came twice
        last = await seen_by(viewer, 1)

    assert [host for host, _, _ in first + rest] == hosts
    assert last[0][1][0]["n"] == "again"


async def test_answers_that_are_cut_off_between_two_looks_are_not_missed(
    deps, live_query, campaign, archivist, monkeypatch
):
    """The cut comes just before the stream is read, and the stream's front is gone then."""
    number, hosts = campaign
    entries = await deps.results.read(number, "0-0", block_ms=1, count=2)
    after = entries[-1].position
    real, cuts = campaign_rows.read, []

    async def cut_first(redis, campaign_id, position, **how):
        if not cuts:
            cuts.append(await archivist.segment(number, 6))
        return await real(redis, campaign_id, position, **how)

    monkeypatch.setattr(campaign_rows, "read", cut_first)
    found = [entry.host_id for entry in entries]
    while more := await deps.results.read(number, after, block_ms=1):
        found += [entry.host_id for entry in more]
        after = more[-1].position

    assert found == hosts


async def test_the_rest_is_not_missed_when_it_is_moved_during_an_empty_wait(
    deps, live_query, campaign, archivist, monkeypatch
):
    number, hosts = campaign
    await live_query.end(number)
    real = campaign_rows.has
    looks = []

    async def move_then_say(redis, campaign_id, position):
        found = await real(redis, campaign_id, position)
        if not looks:  # it was there; now all of it goes
            looks.append(await archivist.segment(number, 10))
            await archivist.finish(number)
        return found

    entries = await deps.results.read(number, "0-0", block_ms=1, count=2)
    monkeypatch.setattr(campaign_rows, "has", move_then_say)
    found = await deps.results.read(number, entries[-1].position, block_ms=1)

    assert found[0].host_id == hosts[2]


async def test_an_archived_campaign_says_that_it_has_ended(deps, live_query, campaign, archivist):
    number, _ = campaign
    await arrange(archivist, live_query, number, "archived")
    position, read = "0-0", []
    while not (found := await deps.results.read(number, position, block_ms=1))[-1].is_end:
        read += found
        position = found[-1].position

    assert len(read) == 10
    assert found[-1].position == position


async def test_a_reader_holds_a_row_group_at_a_time(deps, live_query, campaign, archivist):
    number, _ = campaign
    await archivist.segment(number, 10)

    found = await deps.results.now(number, "0-0")

    assert 0 < len(found) < 4


@pytest.mark.parametrize("fault", ["missing", "damaged", "away"])
async def test_a_segment_that_cannot_be_read_is_waited_for(
    fault, deps, admin, live_query, watching, campaign, archivist, monkeypatch
):
    number, hosts = campaign
    name = await archivist.segment(number, 5)
    data = await deps.blobs.get(name)

    real, tries = Blobs.get, []

    async def get(self, name):
        tries.append(name)
        if fault == "away":
            raise Unavailable("the store is away")
        return await real(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "get", get)
        if fault == "missing":
            await deps.blobs.delete([name])
        elif fault == "damaged":
            await deps.blobs.put(name, data[:-9] + b"x" * 9)
        with pytest.raises(Unavailable):
            await deps.results.now(number, "0-0")
        async with watching(admin, number) as viewer:
            await eventually(lambda: len(tries) >= 3)
            await deps.blobs.put(name, data)
            patch.undo()
            found = await seen_by(viewer, 10)

    assert [host for host, _, _ in found] == hosts


async def test_files_in_memory_are_bounded_and_read_once(deps, monkeypatch):
    monkeypatch.setattr(campaign_segments, "KEPT_BYTES", 250)
    for name in "abc":
        await deps.blobs.put(name, name.encode() * 100)
    files = campaign_segments.SegmentFiles()
    for name in "aba":
        await files.get(deps.blobs, name)
    await deps.blobs.delete(["a", "b"])
    await files.get(deps.blobs, "c")

    assert await files.get(deps.blobs, "a") == b"a" * 100  # the latest ones stay
    assert await files.get(deps.blobs, "b") is None
    assert files._size == sum(len(data) for data in files._kept.values()) <= 250


async def test_results_that_are_removed_end_at_once(deps, admin, live_query, watching, campaign, archivist):
    number, _ = campaign
    await arrange(archivist, live_query, number, "archived")
    await archivist.remove(number)

    async with watching(admin, number) as viewer:
        kinds = []
        while not kinds or kinds[-1]["type"] != "status" or kinds[-1]["data"]["status"] != "finished":
            kinds.append(await viewer.next())

    assert "result" not in {kind["type"] for kind in kinds}

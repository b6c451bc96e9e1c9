"""The archive: answers leave Redis in segments, and whoever is stopped between two steps loses and doubles nothing."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from flotilla_common.blobs import Blobs
from flotilla_common.campaign_archive import START, Position, archive_folder, entries_after
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import AnswerBatch
from flotilla_common.contracts.redis_keys import campaign_rows, campaign_seen
from flotilla_common.db.models.live_query import CampaignSegment
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from live_query.consumers import archiving, on_campaign_answers
from live_query.consumers.archiving import Archiver
from live_query.consumers.housekeeping import Keeper
from live_query.domain import settling
from live_query.domain.archive import ArchivePolicy
from live_query.domain.settling import Received

from ..conftest import answer_to


class Archive:
    """What a reader finds of a campaign: the segments, then the stream, each entry as often as it is there."""

    def __init__(self, deps, database, redis) -> None:
        self.deps, self.database, self.redis = deps, database, redis

    async def segments(self, number: int) -> list[CampaignSegment]:
        found = [row for row in await self.database.rows(CampaignSegment) if row.campaign_id == number]
        return sorted(found, key=lambda row: row.number)

    async def archived(self, number: int) -> list[tuple[Position, dict[bytes, bytes]]]:
        entries = []
        for segment in await self.segments(number):
            data, after = await self.deps.blobs.get(segment.object_name), START
            while piece := entries_after(data, after):
                entries += piece
                after = piece[-1].position
        return [(position, dict(fields)) for position, fields in entries]

    async def streamed(self, number: int) -> list[tuple[Position, dict[bytes, bytes]]]:
        found = await self.redis.xrange(campaign_rows(number))
        return [(Position.parse(place.decode()), fields) for place, fields in found if b"end" not in fields]

    async def all(self, number: int) -> list[tuple[Position, dict[bytes, bytes]]]:
        """What one reads who goes on in the stream where the archive ends."""
        entries = await self.archived(number)
        last = entries[-1][0] if entries else START
        return entries + [entry for entry in await self.streamed(number) if entry[0] > last]

    async def hosts(self, number: int) -> list[int]:
        return [int(fields[b"host"]) for _, fields in await self.all(number)]


@pytest.fixture
async def archive(deps, database, books) -> Archive:
    return Archive(deps, database, books.redis)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(archiving, "SEGMENT_BYTES", 2500)  # four or five answers


@pytest.fixture
async def campaign(deps, running, fleet, start):
    """An open campaign with 20 targets, of which 12 have answered; its id and the hosts."""
    hosts = await fleet.hosts(20)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
    await answer(deps, number, hosts[:12])
    return number, hosts


async def answer(deps, number, hosts, **members):
    batches = [batch_of(host, number, **members) for host in hosts]
    await on_campaign_answers.handle([[Received(batch, deps.clock())] for batch in batches], deps)


def batch_of(host_id, number, **members):
    said = {"rows": [{"host": str(host_id), f"column_{host_id}": "x" * 100}]} | members
    return AnswerBatch(1, host_id, 0, 0, [answer_to(number, **said)], "")


async def end(deps, number):
    """Close a campaign and tell its viewers, as the keeper does."""
    keeper = Keeper(deps)
    async with deps.sessions.begin() as session:
        await archiving.campaigns.decide_end(session, number, "stopped", deps.clock())
    await keeper._close(number)


async def test_an_ended_campaign_is_moved_as_it_was_and_leaves_redis(deps, campaign, archive, books):
    number, hosts = campaign
    before = await archive.streamed(number)
    await end(deps, number)

    await Archiver(deps).finish(number)

    assert await archive.archived(number) == before
    assert await archive.hosts(number) == hosts[:12]
    assert await books.redis.exists(campaign_rows(number), campaign_seen(number)) == 0
    assert (await books.campaign(number)).archived_at is not None


async def test_segments_follow_one_another_and_say_what_is_in_them(deps, campaign, archive):
    number, hosts = campaign
    await answer(deps, number, hosts[12:14], rows=[])
    await answer(deps, number, hosts[14:15], status=1, message="no such table", rows=[])
    await end(deps, number)

    await Archiver(deps).finish(number)

    segments = await archive.segments(number)
    entries = await archive.archived(number)
    assert [segment.number for segment in segments] == list(range(len(segments)))
    assert len(segments) > 2
    assert sum(segment.answers for segment in segments) == 15
    assert sum(segment.with_rows for segment in segments) == 12
    assert sum(segment.without_rows for segment in segments) == 2
    assert sum(segment.rows for segment in segments) == 12
    assert [host for segment in segments for host in bitmap_of(segment.hosts)] == hosts[:15]
    places = [position for position, _ in entries]
    bounds = [(Position(s.first_ms, s.first_number), Position(s.last_ms, s.last_number)) for s in segments]
    assert all(first <= last for first, last in bounds)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(bounds))
    assert {bounds[0][0], bounds[-1][1]} == {places[0], places[-1]}


async def test_a_campaign_without_answers_needs_no_object(deps, running, fleet, start, archive, books):
    await fleet.hosts(2)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
    await end(deps, number)

    await Archiver(deps).finish(number)

    assert await archive.segments(number) == []
    assert await books.redis.exists(campaign_rows(number), campaign_seen(number)) == 0
    assert await deps.blobs.delete_folder(archive_folder(number)) == 0


@pytest.mark.parametrize("step", ["encode", "put", "add", "cut", "forget_hosts", "finish", "remove"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_step_loses_and_doubles_nothing(deps, campaign, archive, books, monkeypatch, step, done):
    number, hosts = campaign
    before = await archive.streamed(number)
    with monkeypatch.context() as patch:
        crash_at(patch, step, done=done)
        with pytest.raises(Crash):
            await shrink_then_end(deps, number)
    during = await archive.all(number)
    await shrink_then_end(deps, number)
    await answer(deps, number, hosts[:12])  # hosts repeat what they are not sure of

    assert during == before
    assert await archive.all(number) == before
    assert await archive.streamed(number) == []
    assert await books.count(number) == {"answered": 12, "cancelled": 8}
    assert await deps.blobs.delete_folder(archive_folder(number)) == len(await archive.segments(number))


class Crash(BaseException):
    """The process ends here."""


def crash_at(patch, step, *, done):
    """End at the second call of a step (the first where there is but one), before or after it has worked."""
    place = {"encode": archiving, "put": Blobs, "add": archiving.segments, "finish": archiving.segments}
    owner = place.get(step, archiving.HotRows)
    real, calls = getattr(owner, step), []
    last = 1 if step in {"finish", "remove"} else 2

    async def crash(*args):
        calls.append(args)
        if len(calls) < last:
            return await real(*args)
        if done:
            await real(*args)
        raise Crash

    def crash_in_thread(*args):
        calls.append(args)
        if len(calls) < last:
            return real(*args)
        if done:
            real(*args)
        raise Crash

    patch.setattr(owner, step, crash_in_thread if step == "encode" else crash)


async def shrink_then_end(deps, number):
    """What a keeper does with an open campaign that is too large, and later with its end."""
    archiver = Archiver(with_policy(deps, hot_bytes=1))
    archiver.note({number})
    await archiver.look()
    await archiver.relieve()
    await end(deps, number)
    await archiver.finish(number)


def with_policy(deps, **policy):
    return replace(deps, archive_policy=ArchivePolicy(**policy))


async def test_a_host_whose_answer_is_archived_counts_once_when_it_repeats_it(deps, campaign, archive, books):
    number, hosts = campaign
    archiver = Archiver(with_policy(deps, hot_bytes=1))
    archiver.note({number})
    await archiver.look()
    await archiver.relieve()
    left = await books.redis.hlen(campaign_seen(number))

    await answer(deps, number, hosts[:14])

    assert left == 1  # `#bytes`: who is settled and archived is forgotten in Redis
    assert await archive.hosts(number) == hosts[:14]
    assert await books.count(number) == {"answered": 14, "pending": 6}


async def test_an_answer_that_is_in_redis_alone_is_settled_by_its_repeat_though_it_is_archived(
    deps, campaign, archive, books, monkeypatch
):
    number, hosts = campaign

    async def crash(*_):
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(on_campaign_answers, "settle", until_redis(on_campaign_answers.settle, patch, crash))
        with pytest.raises(ConnectionError):
            await answer(deps, number, hosts[12:13])
    archiver = Archiver(with_policy(deps, hot_bytes=1))
    archiver.note({number})
    await archiver.look()
    await archiver.relieve()
    middle = await books.states(number)

    await answer(deps, number, hosts[12:13], rows=[{"another": "answer"}])

    assert middle[hosts[12]] == "pending"
    assert (await books.states(number))[hosts[12]] == "answered"
    assert (await archive.hosts(number)).count(hosts[12]) == 1


def until_redis(settle, patch, crash):
    """Settle in Redis, then be stopped."""

    async def broken(*args, **kwargs):
        patch.setattr(settling.ledger, "settle", crash)
        return await settle(*args, **kwargs)

    return broken


async def test_two_replicas_at_once_archive_each_answer_once(deps, make_deps, campaign, archive):
    number, hosts = campaign
    other = await make_deps()
    await end(deps, number)

    await asyncio.gather(Archiver(deps).finish(number), Archiver(other).finish(number))

    assert await archive.hosts(number) == hosts[:12]


async def test_while_the_blob_store_is_away_answers_stay_in_redis(deps, campaign, archive, monkeypatch):
    number, hosts = campaign
    await end(deps, number)

    async def away(*_):
        raise Unavailable("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(deps.blobs, "put", away)
        with pytest.raises(Unavailable):
            await Archiver(deps).finish(number)
    during = await archive.streamed(number)
    await Archiver(deps).finish(number)

    assert len(during) == 12
    assert await archive.hosts(number) == hosts[:12]


async def test_the_keeper_archives_what_ended_and_removes_it_when_its_time_is_over(
    deps, running, fleet, start, gateway, archive, books, clock
):
    hosts = await fleet.hosts(3)
    deps = with_policy(deps, after=timedelta(0), keep=timedelta(days=10))
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        for host in hosts:
            await gateway.answer(host, answer_to(number))
        await eventually(lambda: is_archived(books, number), timeout=30)
    found = await archive.hosts(number)
    clock.move(days=9, hours=23)
    await Archiver(deps).remove_outdated()
    kept = len(await archive.segments(number))
    clock.move(hours=2)
    await Archiver(deps).remove_outdated()

    assert sorted(found) == hosts
    assert kept == 1
    assert await archive.segments(number) == []
    assert await deps.blobs.delete_folder(archive_folder(number)) == 0
    assert (await books.campaign(number)).results_removed_at is not None
    assert await books.count(number) == {"answered": 3}


async def is_archived(books, number):
    return (await books.campaign(number)).archived_at is not None


async def test_a_removal_that_was_broken_off_is_finished(deps, campaign, archive, clock, monkeypatch):
    number, _ = campaign
    await end(deps, number)
    await Archiver(deps).finish(number)
    clock.move(days=31)

    async def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(archiving.segments, "remove", crash)
        with pytest.raises(Crash):
            await Archiver(with_policy(deps)).remove_outdated()
    middle = len(await archive.segments(number))
    await Archiver(with_policy(deps)).remove_outdated()

    assert middle > 0
    assert await archive.segments(number) == []


async def test_what_nobody_needs_leaves_redis(deps, campaign, books):
    number, _ = campaign
    await end(deps, number)
    await Archiver(deps).finish(number)
    await books.redis.set(campaign_seen(number), "left by a crash")
    await books.redis.set(campaign_seen(987), "of another database")
    await books.redis.set("login:1", "not ours")

    await Archiver(deps).sweep()

    assert await books.redis.exists(campaign_seen(number)) == 0
    assert 0 < await books.redis.ttl(campaign_seen(987)) <= 86_400
    assert await books.redis.ttl("login:1") == -1

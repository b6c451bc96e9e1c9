"""A Redis that is full, or nearly: what leaves it, and that nothing is lost or in the way for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import pytest
from flotilla_common.bus import consumer
from flotilla_common.campaign_archive import Position, entries_after
from flotilla_common.contracts.campaigns import AnswerBatch
from flotilla_common.contracts.redis_keys import campaign_rows, campaign_seen
from flotilla_common.db.models.live_query import CampaignSegment
from flotilla_common.testing import eventually
from flotilla_stack.servers import RunningServer, Valkey
from live_query.consumers import archiving, on_campaign_answers
from live_query.consumers.archiving import Archiver
from live_query.consumers.housekeeping import Keeper
from live_query.domain.archive import ArchivePolicy
from live_query.domain.settling import Received
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from ..conftest import Books, answer_to

MIB = 1024 * 1024
ROWS = [{"number": str(number), "text": "x" * 150} for number in range(50)]


@pytest.fixture
async def full(database, make_deps, tmp_path):
    """A replica with a Redis of its own, and the books of that one."""
    with ExitStack() as stack:
        server = stack.enter_context(RunningServer(Valkey(tmp_path / "valkey", password="test", durable=True)))
        deps = await make_deps(server.url(), campaign_bytes=64 * MIB)
        async with Redis.from_url(server.url()) as redis:
            yield deps, Books(database, redis)


async def cap(redis, room: int) -> None:
    """Leave so many bytes of memory."""
    await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] + room)


async def answer(deps, number, *hosts, rows=ROWS):
    batches = [AnswerBatch(1, host, 0, 0, [answer_to(number, rows=rows)], "") for host in hosts]
    await on_campaign_answers.handle([[Received(batch, deps.clock())] for batch in batches], deps)


async def campaigns_of(deps, running, start, hosts, number):
    async with running(deps):
        started = await asyncio.gather(*(start(host_ids=hosts) for _ in range(number)))
    return [one.campaign_id for one in started]


async def test_many_small_campaigns_leave_room_for_one_another(full, running, fleet, start, database):
    """Each is far below what an open campaign may keep under pressure; together they are more than there is."""
    deps, books = full
    hosts = await fleet.hosts(2)
    campaigns = await campaigns_of(deps, running, start, hosts, 24)
    await cap(books.redis, MIB // 2)
    archiver, refused = Archiver(deps), 0
    for number in campaigns:
        try:
            await answer(deps, number, *hosts, rows=2 * ROWS)
        except OutOfMemoryError:  # as the consumer, which asks again later
            refused += 1
            archiver.note(set(campaigns))
            await archiver.look()
            await archiver.relieve()
            await answer(deps, number, *hosts, rows=2 * ROWS)

    segments = await database.rows(CampaignSegment)
    archived = Counter[int]()
    for row in segments:
        archived[row.campaign_id] += row.answers
    assert refused > 0
    assert max(row.size for row in segments) < 64 * 1024
    assert [archived[number] + len(await books.hosts_seen(number)) for number in campaigns] == [2] * 24


async def test_the_total_of_all_campaigns_is_bounded_where_redis_has_no_limit(deps, running, fleet, start, books):
    deps = replace(deps, archive_policy=ArchivePolicy(total_hot_bytes=150_000))
    [host] = await fleet.hosts(1)
    campaigns = await campaigns_of(deps, running, start, [host], 24)
    for number in campaigns:
        await answer(deps, number, host)
    archiver = Archiver(deps)
    archiver.note(set(campaigns))
    await archiver.look()
    before = archiver._memory.held
    await archiver.relieve()
    after = sum((await archiver._hot.sizes(campaigns)).values())

    assert before > 220_000
    assert 0 < after == archiver._memory.held <= 150_000


async def test_what_redis_remembers_of_hosts_counts(deps, running, fleet, start, books):
    """Many hosts without rows: the hash of who has answered is the larger part."""
    hosts = await fleet.hosts(300)
    [number] = await campaigns_of(deps, running, start, hosts, 1)
    await answer(deps, number, *hosts, rows=[])
    seen = await books.redis.memory_usage(campaign_seen(number), samples=0)
    stream = await books.redis.memory_usage(campaign_rows(number), samples=0)
    archiver = Archiver(replace(deps, archive_policy=ArchivePolicy(hot_bytes=stream + seen // 2)))
    archiver.note({number})
    await archiver.look()
    await archiver.relieve()

    assert seen > stream // 2
    assert archiver._memory.size(number) < seen // 8
    assert await books.redis.hlen(campaign_seen(number)) == 1


async def test_a_campaign_that_ends_while_redis_is_full_is_archived(full, running, fleet, start, monkeypatch):
    """Nothing but its own rows fills Redis, and the replica that knew of them is gone."""
    deps, books = full
    hosts = await fleet.hosts(2)
    [number] = await campaigns_of(deps, running, start, hosts, 1)
    await answer(deps, number, hosts[0])
    await books.redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        await answer(deps, number, hosts[1])
    async with deps.sessions.begin() as session:
        await archiving.campaigns.decide_end(session, number, "stopped", deps.clock())
    await Keeper(deps)._close(number)
    ended = (await books.entries(number))[-1]
    await Archiver(deps).tick()

    assert ended == {"end": "stopped"}
    assert await books.redis.exists(campaign_rows(number), campaign_seen(number)) == 0
    assert await books.count(number) == {"answered": 1, "cancelled": 1}


async def test_a_campaign_whose_end_could_not_be_told_is_not_forgotten(full, running, fleet, start, monkeypatch):
    deps, books = full
    [host] = await fleet.hosts(1)
    [number] = await campaigns_of(deps, running, start, [host], 1)
    await answer(deps, number, host)
    keeper = Keeper(deps)

    async def never(_: object) -> None:
        """The process ends here."""

    monkeypatch.setattr(keeper, "_tell_ends", never)
    await keeper._close(number)
    await books.redis.config_set("maxmemory", 1)
    archiver = Archiver(deps)
    await archiver.tick()
    await archiver.tick()

    assert await books.hosts_seen(number) == []
    assert archiver._memory.size(number) < 1024


class Reader:
    """Reads on behind a position, as a viewer does: the stream first, the record of segments after it."""

    def __init__(self, deps, books, number: int) -> None:
        self._deps, self._books, self._number = deps, books, number
        self._after = Position(0, 0)
        self.rows: Counter[int] = Counter()
        self.ended = False

    async def read(self, most: int) -> None:
        """Take so many answers, or fewer."""
        found = await self._books.redis.xrange(campaign_rows(self._number), f"({self._after}", "+", count=most)
        segments = [row for row in await self._books.database.rows(CampaignSegment) if row.campaign_id == self._number]
        left = [row for row in segments if Position(row.last_ms, row.last_number) > self._after]
        if left:
            name = min(left, key=lambda row: row.number).object_name
            entries = entries_after(await self._deps.blobs.get(name), self._after)[:most]
            found = [(str(entry.position).encode(), entry.fields) for entry in entries]
        for place, fields in found:
            self.ended |= b"end" in fields
            if b"host" in fields:
                self.rows[int(fields[b"host"])] += int(fields[b"row_count"])
                self._after = Position.parse(place.decode())

    async def run(self, most: int) -> None:
        """Read until the end."""
        while not self.ended:
            await self.read(most)


async def test_a_fleet_answers_more_than_redis_holds_while_one_viewer_is_slow(
    full, running, fleet, start, gateway, monkeypatch
):
    """500 hosts with 50 rows each are 6 MB of rows; Redis has room for 3."""
    monkeypatch.setattr(consumer, "OUTAGE_DELAY_SECONDS", 0.3)
    deps, books = full
    hosts = await fleet.hosts(500)
    await cap(books.redis, 3 * MIB)
    peak = 0
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        quick, slow = (Reader(deps, books, number) for _ in range(2))
        reading = asyncio.create_task(quick.run(512))
        for at in range(0, len(hosts), 20):
            await asyncio.gather(*(gateway.answer(host, answer_to(number, rows=ROWS)) for host in hosts[at : at + 20]))
            await slow.read(2)
            peak = max(peak, (await books.redis.info("memory"))["used_memory"])
        await eventually(lambda: books.is_complete(number), timeout=90)
        await slow.run(512)
        await reading

    limit = int((await books.redis.config_get("maxmemory"))["maxmemory"])
    assert slow.rows == quick.rows == dict.fromkeys(hosts, 50)
    assert await books.count(number) == {"answered": 500}
    assert peak <= limit + MIB  # what is read and sent just now is counted, too

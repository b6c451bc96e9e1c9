"""A campaign's answers in the order of its stream, wherever they are: in the archive, then in Redis.

Positions are the same in both, so who goes on from one gets each later answer once. Answers leave the stream only
when a segment that has them is recorded; therefore the stream is read first, and the record after it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from flotilla_common.blobs import Blobs
from flotilla_common.campaign_archive import START as BEGINNING
from flotilla_common.campaign_archive import DamagedSegment, Position, StreamEntry, entries_after, salvage
from pyroaring import BitMap64
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.store import campaign_rows, campaign_segments
from admin_api.store.campaign_rows import MOST_ENTRIES, START, MissingAnswers, RowsEntry
from admin_api.store.campaign_segments import Counts, Segment, SegmentFiles
from admin_api.store.unreadable_segments import DAMAGED, MISSING, UnreadableSegments

NEWEST = "+"
LAST_NUMBER = 10**18 - 1  # within a millisecond, of those that are positions
UNPACKED_AT_ONCE = 2  # by the process: it takes processor time


@dataclass
class Archive:
    """What readers of the archive share in a process."""

    files: SegmentFiles = field(default_factory=SegmentFiles)
    unreadable: UnreadableSegments = field(default_factory=UnreadableSegments)
    unpacking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNPACKED_AT_ONCE))


@dataclass(frozen=True)
class CampaignResults:
    """Reads answers of campaigns. Everything raises Unavailable when a part is away: the same can be read later.

    A segment that cannot be read is a part that is away for half a minute. From then on an entry with `missing` stands
    for what is lost of it.
    """

    sessions: async_sessionmaker[AsyncSession]
    redis: Redis
    blobs: Blobs
    archive: Archive

    async def read(self, campaign_id: int, after: str, *, block_ms: int, count: int = MOST_ENTRIES) -> list[RowsEntry]:
        """Return the next answers behind a position; waits up to `block_ms` (2 s at most) for the first one.

        They are `count` at most from Redis, or 256 KiB of small ones where MOST_ENTRIES may come; a row group (256 KiB,
        or a single answer) from the archive.
        """
        if not await campaign_rows.has(self.redis, campaign_id, after):
            found = await self.now(campaign_id, after, count=count)
            if found:
                return found
        entries = await campaign_rows.gather(self.redis, campaign_id, after, block_ms=block_ms, count=count)
        if await campaign_rows.has(self.redis, campaign_id, after):
            return entries  # what is behind an entry that is there was there as well
        return await self.now(campaign_id, after, count=count)

    async def now(self, campaign_id: int, after: str, *, count: int = MOST_ENTRIES) -> list[RowsEntry]:
        """Return the next answers behind a position without waiting; the end once the campaign is all archived.

        Who goes on in Redis, eight answers at a time, asks Postgres nothing: it cost more than all the rest.
        """
        entries = await campaign_rows.read(self.redis, campaign_id, after, block_ms=None, count=count)
        if entries and await campaign_rows.has(self.redis, campaign_id, after):
            return entries  # what is behind an entry that is there was there as well
        async with self.sessions.begin() as session:
            segment = await campaign_segments.following(session, campaign_id, Position.parse(after))
            state = await campaign_segments.state(session, campaign_id)
        if state.removed_at is not None or (state.is_complete and segment is None and not entries):
            return [RowsEntry(after, is_end=True)]
        return entries if segment is None else await self._unpacked(segment, after)

    async def before(self, campaign_id: int, start: str, last: str, *, count: int = MOST_ENTRIES) -> list[RowsEntry]:
        """Return the next answers behind `start` that are not beyond `last` (NEWEST: all), without waiting."""
        found = [entry for entry in await self.now(campaign_id, start, count=count) if not entry.is_end]
        if last == NEWEST:
            return found
        until = Position.parse(last)
        return [entry for entry in found if Position.parse(entry.position) <= until]

    async def counted(self, campaign_id: int, after: str, until: str, sight: BitMap64 | None) -> Counts:
        """Return what the archive knows without being unpacked of the answers from one position to another.

        It may be those up to a place in between: to the first segment with a host that is not in `sight` (None: all).
        """
        begin, end = Position.parse(after), Position.parse(until)
        async with self.sessions.begin() as session:
            if sight is None:
                return await campaign_segments.counts(session, campaign_id, end)
            return await campaign_segments.counts_in_sight(session, campaign_id, begin, end, sight)

    async def skipped_to(self, campaign_id: int, after: str, host_id: int) -> str:
        """Return from where on to look for a host's answer, `after` or beyond it."""
        async with self.sessions.begin() as session:
            place = await campaign_segments.before_host(session, campaign_id, Position.parse(after), host_id)
        return START if place == BEGINNING else str(place)

    async def _unpacked(self, segment: Segment, after: str) -> list[RowsEntry]:
        """Read on in a segment; in one that stays unreadable, around what is lost."""
        data = await self.archive.files.get(self.blobs, segment.object_name)
        if data is None:
            self.archive.unreadable.note(segment.object_name, MISSING)
            return [_lost(segment, after, segment.last, segment.answers, MISSING)]
        try:
            found = await self._entries(data, after)
        except DamagedSegment as error:
            if self.archive.unreadable.is_due(segment.object_name):
                self.archive.files.forget(segment.object_name)
            self.archive.unreadable.note(segment.object_name, DAMAGED, str(error))
            return await self._salvaged(segment, after, data)
        return list(map(_entry, found))

    async def _entries(self, data: bytes, after: str) -> list[StreamEntry]:
        async with self.archive.unpacking:
            found: list[StreamEntry] = await asyncio.to_thread(entries_after, data, Position.parse(after))
        if not found:
            raise DamagedSegment("it lacks what it should have")
        return found

    async def _salvaged(self, segment: Segment, after: str, data: bytes) -> list[RowsEntry]:
        async with self.archive.unpacking:
            lost, found = await asyncio.to_thread(salvage, data, Position.parse(after))
        until = _just_before(found[0].position) if found else segment.last
        entries = list(map(_entry, found))
        if until <= Position.parse(after):
            return entries  # the viewer was told of it before
        return [_lost(segment, after, until, lost or segment.answers, DAMAGED), *entries]


def _lost(segment: Segment, after: str, last: Position, answers: int, reason: str) -> RowsEntry:
    missing = MissingAnswers(after, str(last), min(answers, segment.answers), reason)
    return RowsEntry(str(last), is_archived=True, missing=missing)


def _entry(entry: StreamEntry) -> RowsEntry:
    return campaign_rows.entry_of(str(entry.position), entry.fields, archived=True)


def _just_before(position: Position) -> Position:
    if position.number:
        return Position(position.milliseconds, position.number - 1)
    return Position(position.milliseconds - 1, LAST_NUMBER)

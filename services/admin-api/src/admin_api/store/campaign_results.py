"""A campaign's answers in the order of its stream, wherever they are: in the archive, then in Redis.

Positions are the same in both, so who goes on from one gets each later answer once. Answers leave the stream only
when a segment that has them is recorded; therefore the stream is read first, and the record after it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from flotilla_common.blobs import Blobs
from flotilla_common.campaign_archive import START as BEGINNING
from flotilla_common.campaign_archive import DamagedSegment, Position, StreamEntry, entries_after
from flotilla_common.errors import Unavailable
from pyroaring import BitMap64
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.store import campaign_rows, campaign_segments
from admin_api.store.campaign_rows import MOST_ENTRIES, START, RowsEntry
from admin_api.store.campaign_segments import Counts, Segment, SegmentFiles

NEWEST = "+"
UNPACKED_AT_ONCE = 2  # by the process: it takes processor time


@dataclass
class Archive:
    """What readers of the archive share in a process."""

    files: SegmentFiles = field(default_factory=SegmentFiles)
    unpacking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNPACKED_AT_ONCE))


@dataclass(frozen=True)
class CampaignResults:
    """Reads answers of campaigns. Everything raises Unavailable when a part is away: the same can be read later."""

    sessions: async_sessionmaker[AsyncSession]
    redis: Redis
    blobs: Blobs
    archive: Archive

    async def read(self, campaign_id: int, after: str, *, block_ms: int, count: int = MOST_ENTRIES) -> list[RowsEntry]:
        """Return the next answers behind a position; waits up to `block_ms` (2 s at most) for the first one.

        They are `count` at most from Redis, a row group (256 KiB, or a single answer) from the archive.
        """
        if not await campaign_rows.has(self.redis, campaign_id, after):
            found = await self.now(campaign_id, after, count=count)
            if found:
                return found
        entries = await campaign_rows.read(self.redis, campaign_id, after, block_ms=block_ms, count=count)
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
        data = await self.archive.files.get(self.blobs, segment.object_name)
        try:
            async with self.archive.unpacking:
                found: list[StreamEntry] = await asyncio.to_thread(entries_after, data, Position.parse(after))
        except DamagedSegment as error:
            self.archive.files.forget(segment.object_name)
            raise Unavailable(f"{segment.object_name} is damaged: {error}") from error
        if not found:
            raise Unavailable(f"{segment.object_name} lacks what it should have")
        return [campaign_rows.entry_of(str(entry.position), entry.fields, archived=True) for entry in found]

"""The archive: answers leave Redis for the blob store, while their campaign runs and when it has ended.

One replica does it, the one that keeps house; two at once do no harm. For each segment: the object is put, then its
row is committed, then the entries are cut off in Redis. Whoever is stopped in between repeats what is not recorded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog
from flotilla_common.bus import outage
from flotilla_common.campaign_archive import archive_folder, encode
from flotilla_common.cancellation import heed
from flotilla_common.contracts.bitmaps import bitmap_of

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.archive import segment_of
from live_query.domain.hot_memory import HotMemory
from live_query.store import campaigns, openings, segments
from live_query.store.hot_rows import HotRows
from live_query.store.segments import Archived

log = structlog.get_logger()

SEGMENT_BYTES = 4 * 1024 * 1024  # of entries before compression; the entry that reaches it is the last
LOOK_SECONDS = 5.0
SOONEST_SECONDS = 0.5  # between two looks
PRESSED_SECONDS = 0.1
SIZES_SECONDS = 1.0  # between two looks at every campaign, while pressed
REPAIR_SECONDS = 15.0
SWEEP_SECONDS = 3600.0
AT_ONCE = 100  # ended campaigns


class Archiver:
    """What one replica does while it holds the keeper's lease."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._hot = HotRows(deps.rows.client)
        self._memory = HotMemory(deps.archive_policy)
        self._changed: set[int] = set()
        self._woken = asyncio.Event()
        self._next_sizes = self._next_repair = self._next_sweep = 0.0

    def note(self, changed: set[int]) -> None:
        """Hear of campaigns with new answers."""
        if changed:
            self._changed |= changed
            self._woken.set()

    async def run(self) -> None:
        """Archive for ever (cancel to stop), through outages."""
        while True:
            await self._through(self.tick)
            pressed = self._memory.is_pressed
            await asyncio.sleep(PRESSED_SECONDS if pressed else SOONEST_SECONDS)
            if not pressed:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            heed()
        self._woken.clear()

    async def tick(self) -> None:
        """Do what is due now."""
        await self.look()
        await self.relieve()
        await self._through(self._finish_ended)
        if time.monotonic() >= self._next_repair:
            self._next_repair = time.monotonic() + REPAIR_SECONDS
            async with self._deps.sessions.begin() as session:
                self._changed |= await segments.unarchived(session)
            await self._through(self.remove_outdated)
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_SECONDS
            await self._through(self.sweep)

    async def _through(self, duty: Callable[[], Awaitable[object]]) -> None:
        """What an outage prevents in one place must not keep from the rest."""
        try:
            await duty()
        except outage.kinds() as error:
            metrics.ARCHIVE_FAILURES.inc()
            log.warning("archive waits", error=repr(error))
        heed()

    async def look(self) -> None:
        """Ask Redis how full it is, and how large the campaigns are that grew; all of them when it is full.

        A full Redis may have taken part of what it was given, of which nobody hears.
        """
        self._memory.used = await self._hot.fullness()
        looked_at = set(self._changed)
        sizes = await self._hot.sizes(looked_at | (self._memory.known if self._all_are_due() else set()))
        self._changed -= looked_at
        self._memory.note(sizes)
        metrics.REDIS_FULLNESS.set(self._memory.used)
        metrics.HELD_BYTES.set(self._memory.held)

    def _all_are_due(self) -> bool:
        if not self._memory.is_pressed or time.monotonic() < self._next_sizes:
            return False
        self._next_sizes = time.monotonic() + SIZES_SECONDS
        return True

    async def relieve(self) -> None:
        """Archive the largest campaigns: down to each one's share, or until there is room again."""
        pressed = self._memory.is_pressed
        for campaign_id in self._memory.largest_first():
            if not self._is_too_large(campaign_id, pressed=pressed):
                break
            await self._through(partial(self._shrink, campaign_id, pressed=pressed))

    def _is_too_large(self, campaign_id: int, *, pressed: bool, part: float = 1.0) -> bool:
        if pressed and self._memory.is_relieved:
            return False
        return self._memory.size(campaign_id) > part * self._memory.limit(pressed=pressed)

    async def _shrink(self, campaign_id: int, *, pressed: bool) -> None:
        """Archive a campaign's oldest entries until half of what it may keep is left."""
        archived = await self._reached(campaign_id)
        await self._cut(campaign_id, archived)  # a crash may have kept somebody from it
        await self._measure(campaign_id)
        while self._is_too_large(campaign_id, pressed=pressed, part=0.5):
            if not await self.move(campaign_id):
                break
            await self._cut(campaign_id, await self._reached(campaign_id))
            await self._measure(campaign_id)

    async def _measure(self, campaign_id: int) -> None:
        self._memory.used = await self._hot.fullness()
        self._memory.note(await self._hot.sizes([campaign_id]))

    async def _reached(self, campaign_id: int) -> Archived:
        async with self._deps.sessions.begin() as session:
            return await segments.reached(session, campaign_id)

    async def move(self, campaign_id: int) -> bool:
        """Put the next segment and record it; False when nothing is left.

        Another replica that does the same puts the same object, or one of another name: one of the two is recorded.
        """
        archived = await self._reached(campaign_id)
        entries = await self._hot.oldest(campaign_id, archived.last, SEGMENT_BYTES)
        if not entries:
            return False
        data = await asyncio.to_thread(encode, entries)
        segment = segment_of(campaign_id, archived.following, entries, len(data))
        await self._deps.blobs.put(segment.object_name, data)
        size, rows = segment.size, segment.rows
        async with self._deps.sessions.begin() as session:
            added = await segments.add(session, segment)
        if added:
            metrics.ARCHIVED_BYTES.inc(size)
            log.debug("segment archived", campaign_id=campaign_id, segment=archived.following, bytes=size, rows=rows)
        return True

    async def _cut(self, campaign_id: int, archived: Archived) -> None:
        """Cut off in Redis what is recorded.

        The lock keeps answers away: who waits for it reads in the ledger, not in Redis, that a host has answered.
        """
        if not archived.following:
            return
        await self._hot.cut(campaign_id, archived.last)
        async with self._deps.sessions.begin() as session:
            hosts = bitmap_of(await segments.hosts_of(session, campaign_id, archived.following - 1))
            await campaigns.seize(session, campaign_id)
            await self._hot.forget_hosts(campaign_id, await segments.hosts_settled(session, campaign_id, list(hosts)))

    async def _finish_ended(self) -> None:
        """Archive all of campaigns that ended some time ago, or just now while there is no room."""
        now = self._deps.clock()
        patience = self._deps.archive_policy.after
        async with self._deps.sessions.begin() as session:
            waiting = await segments.oldest_waiting(session)
            before = now if self._memory.is_pressed else now - patience
            ended = await segments.finishable(session, before, AT_ONCE) if waiting is not None else []
        lag = 0.0 if waiting is None else (now - waiting - patience).total_seconds()
        metrics.ARCHIVE_LAG_SECONDS.set(max(lag, 0.0))
        for campaign_id in ended:
            await self._through(partial(self.finish, campaign_id))

    async def finish(self, campaign_id: int) -> None:
        """Archive what is left of an ended campaign, then remove it from Redis."""
        while await self.move(campaign_id):
            heed()
        async with self._deps.sessions.begin() as session:
            await segments.finish(session, campaign_id, self._deps.clock())
        await self._hot.remove(campaign_id)
        self._memory.note({campaign_id: 0})
        metrics.ARCHIVED_CAMPAIGNS.inc()

    async def remove_outdated(self) -> None:
        """Remove results that are kept no longer: first nobody reads them, then the objects go, then their rows."""
        now = self._deps.clock()
        async with self._deps.sessions.begin() as session:
            outdated = await segments.outdated(session, now - self._deps.archive_policy.keep, AT_ONCE)
        for campaign_id in outdated:
            async with self._deps.sessions.begin() as session:
                await segments.note_removal(session, campaign_id, now)
            objects = await self._deps.blobs.delete_folder(archive_folder(campaign_id))
            async with self._deps.sessions.begin() as session:
                await segments.remove(session, campaign_id)
            log.info("results removed", campaign_id=campaign_id, objects=objects)

    async def sweep(self) -> None:
        """Remove keys of archived campaigns that a crash left in Redis, and let those expire that Postgres misses."""
        cursor, held = await self._hot.held(0)
        while True:
            async with self._deps.sessions.begin() as session:
                opening = await openings.ids(session)  # first: each is a campaign, or still one of them
                known = await segments.known(session, held)
            for campaign_id in held - opening:
                if campaign_id not in known:
                    await self._hot.let_expire(campaign_id)
                elif known[campaign_id]:
                    await self._hot.remove(campaign_id)
            if cursor == 0:
                return
            cursor, held = await self._hot.held(cursor)


@asynccontextmanager
async def archiving(deps: Deps) -> AsyncIterator[Callable[[set[int]], None]]:
    """Archive while the block runs; yields what must hear of campaigns with new answers, and raises what went wrong."""
    archiver = Archiver(deps)
    task = asyncio.create_task(archiver.run(), name="archive")

    def note(changed: set[int]) -> None:
        if task.done():
            task.result()
        archiver.note(changed)

    try:
        yield note
    finally:
        task.cancel()
        await asyncio.wait([task])

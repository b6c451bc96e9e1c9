"""The stream's janitor: store what waits too long in the blob store, purge what everybody is done with.

A part of the stream is stored, then counted in, then purged: repeating any step is harmless, and a reader finds each
message in one place or the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.clock import utc_now
from flotilla_common.contracts.log_destinations import Backlog
from flotilla_common.db.models.log_shipper import Destination
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper import metrics
from log_shipper.deps import Deps
from log_shipper.domain import report_keeping
from log_shipper.domain.purging import purge_before
from log_shipper.domain.spilling import Keeping, Need, Part, settled, to_spill, useless
from log_shipper.store import batches, destinations, leases, readers, replays, reports, segments, stream
from log_shipper.store.packing import pack
from log_shipper.store.readers import HOST_LOSSES
from log_shipper.store.reports import Place
from log_shipper.store.source import LogSource
from log_shipper.store.stream import OUTAGES, StoredMessage, StreamState

log = structlog.get_logger()

EVERY_SECONDS = 1.0
CLEAN_SECONDS = 60.0
RETRY_SECONDS = 5.0
SEGMENT_BYTES = 16 * 1024 * 1024
READ_SECONDS = 3.0
REST = timedelta(minutes=10)  # nobody reads for so long from a part that does not count any more, nor stores one


@dataclass(frozen=True)
class Readers:
    """Who reads the stream: destinations whose books are open, the intake and other counters, replays, reports."""

    rows: Sequence[Destination]
    intake: tuple[int, datetime | None]  # cursor, and when the stream that it is about was made
    losses: tuple[int, datetime | None]  # the same
    replayed: int | None  # the lowest sequence that a replay needs
    parts: Sequence[Part]
    reports: Place | None = None  # how far query reports are, when anybody wants them

    def needs(self, state: StreamState, keeping: Keeping) -> list[Need]:
        """Return what each still needs of this stream. One that is at an earlier stream needs all of it."""
        found = [_need(row, state) for row in self.rows]
        if self.replayed is not None:
            found.append(Need(self.replayed - 1))
        if self.reports is not None:
            is_elsewhere = self.reports.stream_created_at not in {None, state.created_at}
            found.append(Need(state.first_sequence - 1 if is_elsewhere else self.reports.cursor))
        if keeping.days:
            found.append(Need(state.first_sequence - 1))
        return found

    def counted(self, state: StreamState) -> int:
        """Return up to where all that only counts is done with this stream: it never reads from the blob store."""
        counted, counted_of = self.intake
        cursor, stream_created_at = self.losses
        return min(
            counted if counted_of in {None, state.created_at} else 0,
            cursor if stream_created_at == state.created_at else 0,
        )

    def positions(self, state: StreamState) -> list[tuple[datetime | None, int]]:
        """Return of which stream each reads, and the last sequence that it is done with.

        One that has not begun will read this one.
        """
        found: list[tuple[datetime | None, int]] = [
            (row.stream_created_at or state.created_at, row.cursor_sequence) for row in self.rows
        ]
        if self.reports is not None:
            found.append((self.reports.stream_created_at or state.created_at, self.reports.cursor))
        if self.replayed is not None:
            found += [(part.stream_created_at, self.replayed - 1) for part in self.parts]
        return found

    def parts_of(self, state: StreamState) -> list[Part]:
        """Return what of this stream is in the blob store."""
        return [part for part in self.parts if part.stream_created_at == state.created_at]


def _need(row: Destination, state: StreamState) -> Need:
    backlog = Backlog.model_validate(row.spec.get("backlog", {}))
    is_elsewhere = row.stream_created_at not in {None, state.created_at}
    return Need(
        state.first_sequence - 1 if is_elsewhere else row.cursor_sequence,
        backlog.bytes,
        backlog.when_full == "dead_letter",
        backlog.required,
    )


async def purge(deps: Deps, keeping: Keeping) -> None:
    """Look after the stream for ever (cancel to stop), through outages; one replica at a time."""
    while True:
        try:
            async with leases.hold(deps.engine, "janitor") as lease:
                cleaned_at = -CLEAN_SECONDS
                while True:
                    await lease.confirm()
                    while await spill_once(deps, keeping):
                        await lease.confirm()
                    await purge_once(deps, keeping)
                    if time.monotonic() > cleaned_at + CLEAN_SECONDS:
                        await clean(deps, keeping)
                        cleaned_at = time.monotonic()
                    heed()
                    await asyncio.sleep(EVERY_SECONDS)
        except (*outage.kinds(), *OUTAGES) as error:
            heed()
            metrics.JANITOR_FAILURES.inc()
            log.warning("janitor waits", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _readers(session: AsyncSession) -> Readers:
    """Find out who reads. Cursors only grow, and what begins further back takes turns with whoever throws away."""
    rows = await destinations.all_rows(session)
    parts = [
        Part(int(row.id or 0), row.first_sequence, row.last_sequence, row.stream_created_at, row.created_at)
        for row in await segments.all_rows(session)
    ]
    is_open = [row for row in rows if row.until_sequence is None or row.cursor_sequence < row.until_sequence]
    losses = await readers.place(session, HOST_LOSSES)
    replayed = await replays.lowest(session)
    place = await reports.place(session) if await report_keeping.is_wanted(session) else None
    return Readers(is_open, await destinations.intake_mark(session), losses, replayed, parts, place)


async def spill_once(deps: Deps, keeping: Keeping) -> bool:
    """Store one part of what waits too long; return whether there was one."""
    async with deps.sessions.begin() as session:
        found = await _readers(session)
    state = await stream.state(deps.bus)
    wanted = to_spill(state, found.needs(state, keeping), found.parts_of(state))
    if wanted is None:
        return False
    messages = await _read(deps, state, *wanted)
    if not messages:
        return False
    await _store(deps, messages, state)
    metrics.SPILLED.inc(sum(len(message.data) for message in messages))
    return True


async def _read(deps: Deps, state: StreamState, first: int, last: int) -> list[StoredMessage]:
    """Read a part that is not too large."""
    source = LogSource(deps.sessions, deps.bus, None)
    messages: list[StoredMessage] = []
    size = 0
    try:
        await source.seek(first, state.created_at)
        while size < SEGMENT_BYTES:
            message = await source.next(READ_SECONDS)
            if message is None or message.sequence > last:
                break
            messages.append(message)
            size += len(message.data)
            if message.sequence == last:
                break
    finally:
        await source.close()
    return messages


async def _store(deps: Deps, messages: list[StoredMessage], state: StreamState) -> None:
    packed = await asyncio.to_thread(pack, messages)
    async with deps.sessions.begin() as session:
        segment = await segments.begin(session, packed, state.created_at)
        segment_id, name = int(segment.id or 0), segment.object_name
    await deps.blobs.put(name, packed.data)
    async with deps.sessions.begin() as session:
        await segments.count_in(session, segment_id)
    log.info("part of the stream stored", first=packed.first.sequence, last=packed.last.sequence)


async def purge_once(deps: Deps, keeping: Keeping) -> None:
    """Purge what can go now."""
    async with deps.sessions.begin() as session:
        await leases.take_turns(session, leases.THROWING_AWAY)
        found, state = await _readers(session), await stream.state(deps.bus)
        done = settled(found.counted(state), found.needs(state, keeping), found.parts_of(state))
        before = purge_before(state, done, keeping.window)
        if before is not None:
            await stream.purge(deps.bus, before)
            log.info("stream purged", before=before, settled=done)


async def clean(deps: Deps, keeping: Keeping) -> None:
    """Forget old batches and replays, and remove parts that nobody needs any more."""
    async with deps.sessions.begin() as session:
        await batches.forget_old(session)
        await replays.forget_old(session)
    keep_after = utc_now() - timedelta(days=keeping.days) if keeping.days else None
    async with deps.sessions.begin() as session:
        await leases.take_turns(session, leases.THROWING_AWAY)
        found, state = await _readers(session), await stream.state(deps.bus)
        await segments.give_up(session, useless(found.parts, found.positions(state), keep_after))
        gone = await segments.given_up(session, REST)
    if gone:
        await deps.blobs.delete([name for _, name in gone])
        async with deps.sessions.begin() as session:
            await segments.forget(session, [segment_id for segment_id, _ in gone])

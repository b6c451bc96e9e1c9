"""The books, complete at any moment: what is stored, and what the stream holds beyond the stored cursors.

`received` comes from headers (the intake's cursor and on), `filtered`, `delivered` and `dead_lettered` from bodies that
were settled, `pending` from the headers beyond the destination's cursor. So the equality of promise P3 is a check, not
a definition. The walk reads headers only, of the messages beyond the lowest cursor: about 200 bytes a message. What is
in the blob store is counted by what its rows say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.log_ledger import LedgerEntry
from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.db.models.log_shipper import Segment
from flotilla_common.errors import Unavailable
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from log_shipper.domain.spilling import Part, covered_to
from log_shipper.store import destinations, ledger, segments
from log_shipper.store.destinations import Place
from log_shipper.store.packing import headers
from log_shipper.store.stream import LogReader, StoredMessage, state

ATTEMPTS = 5
HEADER_TIMEOUT_SECONDS = 3.0
Key = tuple[str, str, datetime | None]
"""Destination, log type, hour of custody (None: all hours)."""


@dataclass(frozen=True)
class Books:
    """What is stored, at one moment. `since`: entries are per hour, from then on; None: over all hours."""

    intake: int
    places: Mapping[str, Place]
    totals: Mapping[Key, Counter[ledger.Column]]
    parts: Sequence[Segment] = ()
    since: datetime | None = None

    def settled_in(self, stream: datetime) -> int:
        """Return the last sequence of the current stream that everybody is done with."""
        here = [_place_in(place, stream, is_current=True) for place in self.places.values()]
        return min([self.intake, *(place.cursor for place in here if place is not None and not place.is_finished)])

    def parts_of(self, stream_created_at: datetime) -> list[Part]:
        """Return what of a stream is in the blob store."""
        return [
            Part(int(row.id or 0), row.first_sequence, row.last_sequence, row.stream_created_at, row.created_at)
            for row in self.parts
            if row.stream_created_at == stream_created_at
        ]


@dataclass(frozen=True)
class Lines:
    """Lines of a message, or of several with one log type and hour: from the first to the last sequence."""

    first: int
    last: int
    log_type: str
    hour: datetime
    stored_at: datetime
    lines: int

    @classmethod
    def of(cls, message: StoredMessage) -> Lines:
        """Return what a message counts for."""
        return cls(message.sequence, message.sequence, message.log_type, message.hour, message.stored_at, message.lines)


@dataclass
class Beyond:
    """Lines beyond the cursors, in the stream and in the blob store."""

    books: Books
    uncounted: Counter[Key] = field(default_factory=Counter)  # not among what was received
    pending: Counter[Key] = field(default_factory=Counter)
    oldest: dict[str, datetime] = field(default_factory=dict)  # destination -> when its oldest pending line came

    def add(self, lines: Lines, *, stream: datetime, is_current: bool) -> None:
        """Count lines of a stream for everybody who has not had them; every destination has all of them or none."""
        for name, place in self.books.places.items():
            here = _place_in(place, stream, is_current=is_current)
            if here is None or not here.is_for(lines.last):
                continue
            key = self._key(name, lines)
            if here.is_uncounted(lines.last, self.books.intake) and is_current:
                self.uncounted[key] += lines.lines
            if here.lacks(lines.last):
                self.pending[key] += lines.lines
                self.oldest[name] = min(self.oldest.get(name, lines.stored_at), lines.stored_at)

    def _key(self, name: str, lines: Lines) -> Key:
        return name, lines.log_type, None if self.books.since is None else lines.hour

    def splits(self, first: int, last: int) -> bool:
        """Whether somebody has a part of this range and lacks another."""
        marks = [self.books.intake]
        for place in self.books.places.values():
            marks += [place.cursor, place.counted_from, last if place.until is None else place.until]
        return any(first <= mark < last for mark in marks)


def _place_in(place: Place, stream: datetime, *, is_current: bool) -> Place | None:
    """Return a destination's place in a stream: one that is at an earlier one lacks all of the current one."""
    if place.stream_created_at == stream or (is_current and place.stream_created_at is None):
        return place
    return Place(0, place.until) if is_current and not place.is_over_in(stream) else None


@dataclass(frozen=True)
class Ledger:
    """The complete books."""

    stream_sequence: int
    entries: tuple[LedgerEntry, ...]
    oldest_pending: Mapping[str, datetime]
    cursors: Mapping[str, int]
    """Of destinations that are not finished."""


async def read_books(sessions: async_sessionmaker[AsyncSession], since: datetime | None = None) -> Books:
    """Read what is stored, as of one moment."""
    async with sessions.begin() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return Books(
            await destinations.intake(session),
            await destinations.places(session),
            await ledger.totals(session, since),
            await segments.all_rows(session),
            since,
        )


async def read_ledger(sessions: async_sessionmaker[AsyncSession], bus: Bus, since: datetime | None = None) -> Ledger:
    """Return the complete books, over all hours, or per hour from a moment on.

    Raises:
        Unavailable: the stream was purged faster than it could be read.

    """
    for _ in range(ATTEMPTS):
        books = await read_books(sessions, since)
        found = await state(bus)
        start = _walk_from(books, found.created_at)
        beyond = Beyond(books)
        await _add_parts(sessions, beyond, found.created_at)
        parts = [part for part in books.parts_of(found.created_at) if part.last >= start]
        async for message in _headers(bus, start, found.last_sequence):
            if not any(part.first <= message.sequence <= part.last for part in parts):
                beyond.add(Lines.of(message), stream=found.created_at, is_current=True)
        first = (await state(bus)).first_sequence
        # Purged meanwhile: what is missing here was settled or stored since, so the books must be read again.
        if first <= start or _walk_from(await read_books(sessions), found.created_at) == start:
            cursors = {name: place.cursor for name, place in books.places.items() if not place.is_finished}
            return Ledger(found.last_sequence, entries(books, beyond), beyond.oldest, cursors)
    raise Unavailable("the stream moves faster than its headers can be read")


def _walk_from(books: Books, stream: datetime) -> int:
    """Return the first sequence of the stream's headers that the books need."""
    return covered_to(books.settled_in(stream), books.parts_of(stream)) + 1


async def _add_parts(sessions: async_sessionmaker[AsyncSession], beyond: Beyond, stream: datetime) -> None:
    """Count what is in the blob store: by its totals, or by its index where somebody's cursor is inside."""
    for row in beyond.books.parts:
        is_current = row.stream_created_at == stream
        if not beyond.splits(row.first_sequence, row.last_sequence):
            found = [
                Lines(row.first_sequence, row.last_sequence, log_type, _hour(hour), row.first_stored_at, lines)
                for log_type, hour, lines in row.totals
            ]
        else:
            async with sessions.begin() as session:
                index = await segments.index_of(session, int(row.id or 0))
            found = [Lines.of(message) for message, _ in headers(index)]
        for lines in found:
            beyond.add(lines, stream=row.stream_created_at, is_current=is_current)


def _hour(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def entries(books: Books, beyond: Beyond) -> tuple[LedgerEntry, ...]:
    """Return one entry for every destination and log type, and hour of those that are wanted."""
    if books.since is None:
        seen = {log_type for _, log_type, _ in (*books.totals, *beyond.pending)} | set(LOG_TYPES)
        keys: set[Key] = {(name, log_type, None) for name in books.places for log_type in seen}
    else:
        since = books.since
        keys = {key for key in (*books.totals, *beyond.pending, *beyond.uncounted) if key[2] and key[2] >= since}
    return tuple(_entry(key, books.totals.get(key, Counter()), beyond) for key in sorted(keys, key=_order))


def _order(key: Key) -> tuple[str, str, float]:
    return key[0], key[1], 0.0 if key[2] is None else key[2].timestamp()


def _entry(key: Key, total: Counter[ledger.Column], beyond: Beyond) -> LedgerEntry:
    name, log_type, hour = key
    return LedgerEntry(
        destination=name,
        log_type=log_type,
        hour=hour,
        received=total["received"] + beyond.uncounted[key],
        filtered=total["filtered"],
        delivered=total["delivered"],
        dead_lettered=total["dead_lettered"],
        pending=beyond.pending[key],
        duplicates=total["duplicates"],
    )


async def _headers(bus: Bus, first: int, last: int) -> AsyncIterator[StoredMessage]:
    """Walk the headers of a range; it may have been purged in part."""
    if first > last:
        return
    reader = LogReader(bus, headers_only=True)
    try:
        await reader.seek(first)
        while True:
            message = await reader.next(HEADER_TIMEOUT_SECONDS)
            if message is None:
                if (await state(bus)).first_sequence > last:
                    return
                raise Unavailable("the stream's headers do not come")
            if message.sequence <= last:
                yield message
            if message.sequence >= last:
                return
    finally:
        await reader.close()

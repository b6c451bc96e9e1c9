"""The books, complete at any moment: what is stored, and what the stream holds beyond the stored cursors.

`received` comes from headers (the intake's cursor and on), `filtered`, `delivered` and `dead_lettered` from bodies that
were settled, `pending` from the headers beyond the destination's cursor. So the equality of promise P3 is a check, not
a definition. The walk reads headers only, of the messages beyond the lowest cursor: about 200 bytes a message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.log_ledger import LedgerEntry
from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.errors import Unavailable
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from log_shipper.store import destinations, ledger
from log_shipper.store.destinations import Place
from log_shipper.store.stream import LogReader, StoredMessage, state

ATTEMPTS = 5
HEADER_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True)
class Books:
    """What is stored, at one moment."""

    intake: int
    places: Mapping[str, Place]
    totals: Mapping[tuple[str, str], Counter[ledger.Column]]

    @property
    def settled(self) -> int:
        """The last sequence that everybody is done with."""
        return min([self.intake, *(place.cursor for place in self.places.values() if not place.is_finished)])


@dataclass
class Beyond:
    """Lines that the stream holds beyond the cursors."""

    uncounted: Counter[tuple[str, str]] = field(default_factory=Counter)  # (destination, log type) -> beyond the intake
    pending: Counter[tuple[str, str]] = field(default_factory=Counter)  # (destination, log type) -> lines
    oldest: dict[str, datetime] = field(default_factory=dict)  # destination -> when its oldest pending line came

    def add(self, books: Books, message: StoredMessage) -> None:
        """Count a message for everybody who has not had it."""
        is_uncounted = message.sequence > books.intake
        for name, place in books.places.items():
            if is_uncounted and place.is_for(message.sequence):
                self.uncounted[name, message.log_type] += message.lines
            if place.lacks(message.sequence):
                self.pending[name, message.log_type] += message.lines
                self.oldest.setdefault(name, message.stored_at)


@dataclass(frozen=True)
class Ledger:
    """The complete books."""

    stream_sequence: int
    entries: tuple[LedgerEntry, ...]
    oldest_pending: Mapping[str, datetime]
    cursors: Mapping[str, int]
    """Of destinations that are not finished."""


async def read_books(sessions: async_sessionmaker[AsyncSession]) -> Books:
    """Read what is stored, as of one moment."""
    async with sessions.begin() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return Books(
            await destinations.intake(session), await destinations.places(session), await ledger.totals(session)
        )


async def read_ledger(sessions: async_sessionmaker[AsyncSession], bus: Bus) -> Ledger:
    """Return the complete books.

    Raises:
        Unavailable: the stream was purged faster than it could be read.

    """
    for _ in range(ATTEMPTS):
        books = await read_books(sessions)
        last = (await state(bus)).last_sequence
        beyond = Beyond()
        async for message in _headers(bus, books.settled + 1, last):
            beyond.add(books, message)
        first = (await state(bus)).first_sequence
        # Purged meanwhile: what is missing here has been settled since, so the books must be read again.
        if first <= books.settled + 1 or (await read_books(sessions)).settled == books.settled:
            cursors = {name: place.cursor for name, place in books.places.items() if not place.is_finished}
            return Ledger(last, entries(books, beyond), beyond.oldest, cursors)
    raise Unavailable("the stream moves faster than its headers can be read")


def entries(books: Books, beyond: Beyond) -> tuple[LedgerEntry, ...]:
    """Return one entry for every destination and log type."""
    seen = {log_type for _, log_type in (*books.totals, *beyond.pending)}
    return tuple(
        _entry(name, log_type, books.totals.get((name, log_type), Counter()), beyond)
        for name in sorted(books.places)
        for log_type in sorted(seen | set(LOG_TYPES))
    )


def _entry(name: str, log_type: str, total: Counter[ledger.Column], beyond: Beyond) -> LedgerEntry:
    return LedgerEntry(
        destination=name,
        log_type=log_type,
        received=total["received"] + beyond.uncounted[name, log_type],
        filtered=total["filtered"],
        delivered=total["delivered"],
        dead_lettered=total["dead_lettered"],
        pending=beyond.pending[name, log_type],
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

"""Where in the stream a time or a sequence stands, over what is in the blob store and what is in the stream."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.log_replays import Span
from flotilla_common.errors import Invalid
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper.store import packing, segments
from log_shipper.store.stream import StreamState, first_since, message_at, state


@dataclass(frozen=True)
class Kept:
    """What is kept of the stream without a gap up to its end: from `first_sequence` (None: nothing is)."""

    stream: StreamState
    first_sequence: int | None
    first_stored_at: datetime | None
    parts: tuple[packing.Known, ...]


async def kept(session: AsyncSession, bus: Bus) -> Kept:
    """Find out what is kept."""
    found = await state(bus)
    parts = [
        packing.Known(row.first_sequence, row.last_sequence, row.first_stored_at, row.last_stored_at, int(row.id or 0))
        for row in await segments.all_rows(session)
        if row.stream_created_at == found.created_at
    ]
    first = found.first_sequence
    following: list[packing.Known] = []
    for part in reversed(parts):
        if part.last < first - 1:
            break
        following.append(part)
        first = min(first, part.first)
    if not found.messages and not following:
        return Kept(found, None, None, ())
    if following and first < found.first_sequence:
        first_stored_at: datetime | None = following[-1].first_stored_at
    else:
        message = await message_at(bus, first)
        first_stored_at = None if message is None else message.stored_at
    return Kept(found, first, first_stored_at, tuple(reversed(following)))


async def begin_of(bus: Bus, here: Kept, span: Span) -> tuple[int, bool]:
    """Return the sequence at which a span begins, and whether all of it from there is kept.

    Raises:
        Invalid: it names no beginning, or both kinds.

    """
    if (span.from_time is None) == (span.from_sequence is None):
        raise Invalid("give a beginning: either from_time or from_sequence")
    first = here.first_sequence or here.stream.last_sequence + 1
    if span.from_sequence is not None:
        return max(first, span.from_sequence), span.from_sequence >= first
    wanted = _zoned(span.from_time)
    is_whole = here.first_stored_at is not None and wanted >= here.first_stored_at
    return await _first_since(bus, here, wanted), is_whole


async def last_before(bus: Bus, here: Kept, span: Span) -> int:
    """Return the last sequence of a span.

    Raises:
        Invalid: it names both kinds of end.

    """
    if span.to_time is not None and span.to_sequence is not None:
        raise Invalid("give one end: to_time or to_sequence")
    if span.to_sequence is not None:
        return min(span.to_sequence, here.stream.last_sequence)
    if span.to_time is not None:
        return await _first_since(bus, here, _zoned(span.to_time)) - 1
    return here.stream.last_sequence


def _zoned(moment: datetime | None) -> datetime:
    if moment is None or moment.tzinfo is None:
        raise Invalid("times need a zone, as 2026-11-24T05:00:00Z has one")
    return moment


async def _first_since(bus: Bus, here: Kept, moment: datetime) -> int:
    """Return the sequence of the first message that is kept and was stored at this time or later."""
    for part in here.parts:
        if part.last_stored_at >= moment:
            return part.first
    return await first_since(bus, here.stream, moment)

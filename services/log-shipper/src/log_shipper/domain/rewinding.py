"""Where a cursor must go when the stream is not the one it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flotilla_common.bus.connection import Bus

from log_shipper.store.stream import StoredMessage, StreamState, first_since, message_at

SAME = timedelta(milliseconds=1)  # the server's nanoseconds are rounded on their way


@dataclass(frozen=True)
class Mark:
    """A cursor: of which stream, and when its message was stored (None: not known)."""

    cursor: int
    stream_created_at: datetime | None
    stored_at: datetime | None = None


async def place_of(bus: Bus, state: StreamState, mark: Mark) -> int | None:
    """Return the new place of a cursor; None when it is right where it is.

    A stream that lost its newest messages at a power cut gives their numbers to others. What was stored after the
    cursor's message is new then, whatever its number.
    """
    target = rewind_to(state, mark.cursor, mark.stream_created_at)
    if target is not None or mark.stored_at is None or not state.first_sequence <= mark.cursor <= state.last_sequence:
        return target
    if not is_another(await message_at(bus, mark.cursor), mark.stored_at):
        return None
    return await first_since(bus, state, mark.stored_at + SAME) - 1


def is_another(message: StoredMessage | None, stored_at: datetime) -> bool:
    """Whether a message is not the one that was stored then."""
    return message is not None and abs(message.stored_at - stored_at) > SAME


def rewind_to(state: StreamState, cursor: int, stream_created_at: datetime | None) -> int | None:
    """Return the new place of a cursor, as far as the stream's bounds tell.

    A stream that was deleted and made again is read from its beginning. One that lost its newest messages (restored, or
    not yet on disk at a power cut) goes on where it ends: what it lost had been settled, and its numbers come again.
    """
    if stream_created_at is not None and state.created_at != stream_created_at:
        return state.first_sequence - 1
    return state.last_sequence if state.last_sequence < cursor else None

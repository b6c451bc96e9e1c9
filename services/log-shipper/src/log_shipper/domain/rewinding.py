"""Where a cursor must go when the stream is not the one it was."""

from __future__ import annotations

from datetime import datetime

from log_shipper.store.stream import StreamState


def rewind_to(state: StreamState, cursor: int, stream_created_at: datetime | None) -> int | None:
    """Return the new place of a cursor; None when it is right where it is.

    A stream that was deleted and made again is read from its beginning. One that lost its newest messages (restored, or
    not yet on disk at a power cut) goes on where it ends: what it lost had been settled, and its numbers come again.
    """
    if stream_created_at is not None and state.created_at != stream_created_at:
        return state.first_sequence - 1
    return state.last_sequence if state.last_sequence < cursor else None

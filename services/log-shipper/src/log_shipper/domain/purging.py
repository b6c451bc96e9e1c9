"""What may be purged: what everybody has, and no more than keeps the stream below its replay window."""

from __future__ import annotations

import math

from log_shipper.store.stream import StreamState


def purge_before(state: StreamState, settled: int, replay_window: float) -> int | None:
    """Return the sequence below which messages can go; None when nothing has to.

    `settled` is the last sequence that every destination and the intake are done with. The newest settled messages
    stay, for replay, as long as the stream is not fuller than `replay_window` (0 to 1) of its limit.
    """
    excess = state.used_bytes - state.max_bytes * replay_window
    if excess <= 0 or not state.messages:
        return None
    average = state.used_bytes / state.messages
    enough = state.first_sequence + math.ceil(excess / average)
    before = min(settled + 1, enough)
    return before if before > state.first_sequence else None

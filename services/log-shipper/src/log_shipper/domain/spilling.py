"""Which part of the stream must go to the blob store, which can be purged, and which parts nobody needs any more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from log_shipper.store.stream import StreamState

BACKLOG_SHARE = 0.25  # of the stream's limit, where a destination does not say what it may leave there
LATER = 2  # times that, for one that buries what it cannot deliver: only if it does not keep up with that either
LEAST_BACKLOG_BYTES = 1024


@dataclass(frozen=True)
class Keeping:
    """How much is kept for replay: a share of the stream's limit, and days in the blob store (0: none)."""

    window: float = 0.5
    days: float = 0.0


@dataclass(frozen=True)
class Part:
    """A part of the stream that is in the blob store."""

    id: int
    first: int
    last: int
    stream_created_at: datetime
    created_at: datetime


@dataclass(frozen=True)
class Need:
    """Somebody who still has to read what comes after `cursor`."""

    cursor: int
    backlog_bytes: int | None = None  # how much of it may wait in the stream; None: a share of the stream
    buries: bool = False  # what is more than that becomes dead letters
    is_required: bool = False  # then all of it waits in the stream, and hosts wait when that is full


def covered_to(cursor: int, parts: Iterable[Part]) -> int:
    """Return up to where everything after the cursor is in the blob store; `parts` in order."""
    for part in parts:
        if part.last <= cursor:
            continue
        if part.first > cursor + 1:
            break
        cursor = part.last
    return cursor


def to_spill(state: StreamState, needs: Iterable[Need], parts: Sequence[Part]) -> tuple[int, int] | None:
    """Return the first and last sequence that must be stored next; None when nothing must.

    What lags too far behind is stored up to half of what may wait, so that it is not done bit by bit. What is stored
    already does not wait in the stream, whether it is purged yet or not.
    """
    if not state.messages:
        return None
    average = state.used_bytes / state.messages
    wanted: list[tuple[int, int]] = []
    for need in needs:
        limit = allowed_bytes(need, state)
        covered = covered_to(need.cursor, parts)
        if need.is_required or lag_bytes(Need(covered), state) <= limit:
            continue
        first = max(covered + 1, state.first_sequence)
        last = state.last_sequence - math.floor(limit / 2 / average)
        if first <= last:
            wanted.append((first, last))
    if not wanted:
        return None
    first, last = min(wanted)
    following = [part.first for part in parts if part.first > first]
    return first, min([last, *(start - 1 for start in following)])


def allowed_bytes(need: Need, state: StreamState) -> int:
    """Return how much may wait for it in the stream."""
    share = int(state.max_bytes * BACKLOG_SHARE)
    limit = share if need.backlog_bytes is None else max(need.backlog_bytes, LEAST_BACKLOG_BYTES)
    return limit * LATER if need.buries else limit


def lag_bytes(need: Need, state: StreamState) -> float:
    """Return about how much waits for it in the stream."""
    average = state.used_bytes / max(state.messages, 1)
    return (state.last_sequence - max(need.cursor, state.first_sequence - 1)) * average


def settled(intake: int, needs: Iterable[Need], parts: Sequence[Part]) -> int:
    """Return the last sequence that the stream need not hold any more for anybody."""
    return min([intake, *(covered_to(need.cursor, parts) for need in needs)])


def useless(
    parts: Iterable[Part], readers: Iterable[tuple[datetime | None, int]], keep_after: datetime | None
) -> list[int]:
    """Return the ids of parts that nobody reads and that are older than what is kept for replays.

    `readers`: of which stream, and the last sequence that each is done with. `keep_after` None: keep nothing.
    """
    positions = list(readers)
    return [
        part.id
        for part in parts
        if not any(stream == part.stream_created_at and cursor < part.last for stream, cursor in positions)
        and (keep_after is None or part.created_at < keep_after)
    ]

"""Replays: a part of stream LOGS, once more for a destination. log-shipper alone keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from flotilla_common.contracts.base import Answer, Message, Request


class Replay(Message):
    """From the first to the last sequence of the stream; done up to `cursor_sequence`, with so many lines."""

    id: int
    destination: str
    first_sequence: int
    last_sequence: int
    cursor_sequence: int
    lines: int
    created_at: datetime
    ended_at: datetime | None = None
    is_cancelled: bool = False


class Span(Message):
    """A part of the stream: from a custody time or a sequence, to one; not given: to what is newest now."""

    from_time: datetime | None = None
    from_sequence: int | None = None
    to_time: datetime | None = None
    to_sequence: int | None = None


class ReplayAnsweredV1(Answer):
    """A replay; `is_whole` is false when the stream's beginning of it is not kept any more."""

    replay: Replay
    is_whole: bool = True


class ReplayV1(Request[ReplayAnsweredV1]):
    """Send a part of the stream to a destination once more; what its filter takes counts as duplicates.

    Refused: `not_found` when there is no such destination, `invalid` when nothing of it is kept.
    """

    subject: ClassVar[str] = "log_shipper.replay.v1"
    answer: ClassVar[type[Answer]] = ReplayAnsweredV1

    destination: str
    span: Span


class ReplaysAnsweredV1(Answer):
    """All replays, newest first, and the oldest sequence and time that there can be one from (None: none)."""

    replays: tuple[Replay, ...]
    oldest_sequence: int | None = None
    oldest_time: datetime | None = None


class ReplaysV1(Request[ReplaysAnsweredV1]):
    """List replays; those that ended are kept for 30 days."""

    subject: ClassVar[str] = "log_shipper.replays.v1"
    answer: ClassVar[type[Answer]] = ReplaysAnsweredV1


class StopReplayV1(Request[ReplayAnsweredV1]):
    """End a replay where it is. Refused: `not_found`."""

    subject: ClassVar[str] = "log_shipper.stop_replay.v1"
    answer: ClassVar[type[Answer]] = ReplayAnsweredV1

    id: int

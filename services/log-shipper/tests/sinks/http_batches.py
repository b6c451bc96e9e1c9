"""Batches for destinations behind HTTP, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.contracts.logs import Segment
from log_shipper.sinks import Batch, Chunk, Progress, kind_of

from ..conftest import QUICK, WatchedSink, balanced

FIRST = datetime(2026, 11, 24, 5, 59, 59, tzinfo=UTC)
RECEIVED_MS = 1_763_959_000_123


def batch_of(lines: Sequence[bytes], progress: Progress | None = None, **changes: Any) -> Batch:
    """A batch of these lines, two messages if there are enough."""
    half = len(lines) // 2
    chunks = []
    for sequence, part in enumerate((lines[:half], lines[half:]), 7):
        body = b"".join(line + b"\n" for line in part)
        segment = Segment(host_id=40 + sequence, team_id=3, received_ms=RECEIVED_MS, lines=len(part), bytes=len(body))
        if part:
            chunks.append(Chunk(sequence, "result", len(part), body, [segment]))
    given = {"fence": (1, 5), "first_sequence": 7, "last_sequence": 8, "started_at": FIRST} | changes
    return Batch(chunks=chunks, progress=progress or Progress(), **given)


def numbered(count: int) -> list[bytes]:
    return [b'{"number":%d}' % number for number in range(count)]


def outcome(batch: Batch) -> tuple[int, int, int]:
    """How many lines are accepted, refused, and there twice for all that anybody knows."""
    progress = batch.progress
    refused = len(progress.refusals)
    return len(progress.accepted) - refused, refused, len(progress.repeated)


def destination(kind: str, settings: dict[str, Any]) -> WatchedSink:
    """A destination for `shipping`, which cuts batches at once."""
    sink = WatchedSink(kind_of(kind).open(settings), name=kind)
    sink.spec = Destination(name=kind, kind="file", retry=QUICK, batch={"seconds": 0.05})
    return sink


async def books(deps: Any, name: str) -> tuple[int, int, int, int]:
    """Delivered, dead-lettered, pending, duplicates."""
    entry = (await balanced(deps)).get((name, "result"))
    return (entry.delivered, entry.dead_lettered, entry.pending, entry.duplicates) if entry else (0, 0, 0, 0)


HOSTILE = [
    b'{"name":"bad utf-8 \xff\xfe"}',
    b'{"name":"a NUL \x00"}',
    b"not JSON at all",
    b'{"name":"no end',
    b"[" * 5000 + b"]" * 5000,
    b'{"name":' * 3000 + b"1" + b"}" * 3000,
    b'{"name":"escaped \\u0000 \\ud800"}',
    b"null",
    b'["a","list"]',
    b'{"name":"' + b"x" * 5_000_000 + b'"}',
]
"""Lines that hosts should not send."""

"""Batches of lines, for tests of sinks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from flotilla_common.contracts.logs import Segment
from log_shipper.sinks import Batch, Chunk

FIRST = datetime(2026, 11, 24, 5, 59, 59, tzinfo=UTC)
RECEIVED_MS = 1_763_959_000_000


def chunk_of(lines: Sequence[bytes], sequence: int = 7, *, log_type: str = "result", host_id: int = 7) -> Chunk:
    """A message of one host."""
    body = b"".join(line + b"\n" for line in lines)
    segment = Segment(host_id=host_id, team_id=3, received_ms=RECEIVED_MS, lines=len(lines), bytes=len(body))
    return Chunk(sequence, log_type, len(lines), body, (segment,))


def batch_of(*chunks: Chunk) -> Batch:
    """A batch of messages."""
    return Batch((1, 1), chunks[0].sequence, chunks[-1].sequence, FIRST, chunks)


def numbered(first: int, last: int) -> list[bytes]:
    """Lines with numbers, the last one included."""
    return [b'{"number":%d}' % number for number in range(first, last + 1)]

"""A part of the stream as one object: its messages' bodies end to end, gzipped, and an index of what stands where."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from isal import igzip

from log_shipper.errors import SegmentBroken
from log_shipper.store.stream import StoredMessage

LEVEL = 1  # igzip's second: logs shrink tenfold for a tenth of zlib's work
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
Totals = list[tuple[str, int, int]]
"""(log type, hour as Unix time in s, lines)."""


class Index(msgspec.Struct, array_like=True, frozen=True):
    """Columns, one entry for each message of a segment, in order."""

    sequences: list[int]
    stored_us: list[int]  # Unix time
    subjects: list[str]
    lines: list[int]
    sizes: list[int]  # bytes of the body


@dataclass(frozen=True)
class Known:
    """What is known of a stored segment without its index."""

    first: int
    last: int
    first_stored_at: datetime
    last_stored_at: datetime
    id: int


_decode = msgspec.msgpack.Decoder(Index).decode


@dataclass(frozen=True)
class Packed:
    """A segment before it is stored."""

    first: StoredMessage
    last: StoredMessage
    messages: int
    index: bytes
    totals: Totals
    data: bytes  # gzip
    raw_bytes: int


def pack(messages: Sequence[StoredMessage]) -> Packed:
    """Return messages as a segment. Compresses: not for the event loop."""
    index = Index(
        [one.sequence for one in messages],
        [(one.stored_at - EPOCH) // MICROSECOND for one in messages],
        [one.subject for one in messages],
        [one.lines for one in messages],
        [len(one.data) for one in messages],
    )
    raw = b"".join(one.data for one in messages)
    totals: Counter[tuple[str, int]] = Counter()
    for one in messages:
        totals[one.log_type, int(one.hour.timestamp())] += one.lines
    return Packed(
        messages[0],
        messages[-1],
        len(messages),
        msgspec.msgpack.encode(index),
        [(log_type, hour, lines) for (log_type, hour), lines in sorted(totals.items())],
        igzip.compress(raw, LEVEL),
        len(raw),
    )


def unpack(index: bytes, data: bytes, raw_bytes: int) -> list[StoredMessage]:
    """Return the messages of a segment. Inflates: not for the event loop.

    Raises:
        SegmentBroken: the object is not what was stored.

    """
    try:
        raw = bytes(igzip.decompress(data))  # type: ignore[no-untyped-call]
    except (OSError, EOFError, zlib.error) as error:
        raise SegmentBroken(f"a part of the stream in the blob store cannot be read: {error}") from error
    if len(raw) != raw_bytes:
        raise SegmentBroken(f"a part of the stream in the blob store has {len(raw)} bytes, not {raw_bytes}")
    messages: list[StoredMessage] = []
    start = 0
    for one, size in headers(index):
        messages.append(StoredMessage(one.sequence, one.stored_at, one.subject, one.lines, raw[start : start + size]))
        start += size
    return messages


def headers(index: bytes) -> Iterator[tuple[StoredMessage, int]]:
    """Yield each message without its body, and the size of that."""
    found = _decode(index)
    columns = zip(found.sequences, found.stored_us, found.subjects, found.lines, found.sizes, strict=True)
    for sequence, stored_us, subject, lines, size in columns:
        yield StoredMessage(sequence, EPOCH + timedelta(microseconds=stored_us), subject, lines, b""), size

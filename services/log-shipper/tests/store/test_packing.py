"""A part of the stream as an object: what goes in comes out."""

import gzip
from datetime import UTC, datetime, timedelta

import pytest
from log_shipper.errors import SegmentBroken
from log_shipper.store.packing import headers, pack, unpack
from log_shipper.store.stream import StoredMessage

HOUR = datetime(2026, 11, 24, 5, tzinfo=UTC)


def message(sequence: int, data: bytes, lines: int = 1, minutes: int = 0, log_type: str = "result") -> StoredMessage:
    stored_at = HOUR + timedelta(minutes=minutes, microseconds=123_456)
    return StoredMessage(sequence, stored_at, f"logs.{log_type}.v1.3", lines, data)


MESSAGES = [
    message(7, b"one\n"),
    message(8, b"", 0),
    message(11, b"\xff\x00\n" * 1000, 1000, minutes=59),
    message(12, b"two\n", 2, minutes=60),
    message(13, b"three\n", 4, minutes=60, log_type="status"),
]


def test_messages_come_back_as_they_were():
    packed = pack(MESSAGES)

    assert unpack(packed.index, packed.data, packed.raw_bytes) == MESSAGES
    assert gzip.decompress(packed.data) == b"".join(one.data for one in MESSAGES)


def test_the_index_knows_all_but_the_bodies():
    found = list(headers(pack(MESSAGES).index))

    assert [size for _, size in found] == [4, 0, 3000, 4, 6]
    assert [(one.sequence, one.stored_at, one.subject, one.lines) for one, _ in found] == [
        (one.sequence, one.stored_at, one.subject, one.lines) for one in MESSAGES
    ]


def test_totals_are_per_log_type_and_hour():
    hour = int(HOUR.timestamp())

    assert pack(MESSAGES).totals == [("result", hour, 1001), ("result", hour + 3600, 2), ("status", hour + 3600, 4)]


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-9], lambda data: b"", lambda data: gzip.compress(b"other"), lambda data: b"x" + data],
)
def test_what_is_not_what_was_stored_is_refused(spoil):
    packed = pack(MESSAGES)

    with pytest.raises(SegmentBroken):
        unpack(packed.index, spoil(packed.data), packed.raw_bytes)

"""Segments of the archive: what was written comes back byte by byte, in pieces, and damage is noticed."""

from __future__ import annotations

import subprocess
import sys

import pyarrow.parquet
import pytest
from flotilla_common import campaign_archive
from flotilla_common.campaign_archive import (
    GROUP_BYTES,
    START,
    DamagedSegment,
    Position,
    StreamEntry,
    encode,
    entries_after,
    salvage,
    segment_object,
)

ODD_ROWS = [
    b"[]",
    b'[{"b":"1","a":"2"},{"c":""}]',
    b'[{"a":"1","a":"2"}]',  # one name twice
    b'[ {"n": 1e400, "z": null, "x": {"y": [1]}} ]',
    '[{"ü":"\U0001f600"}]'.encode(),
    b'[{"broken":"\xff\xfe"}]',
    b'[{"half":"\\ud800","nul":"\\u0000"}]',
]


def entry(milliseconds: int, number: int = 0, rows: bytes = b"[]", **more: bytes) -> StreamEntry:
    fields = {
        b"host": b"%d" % (milliseconds * 10 + number), b"outcome": b"answered", b"error": b"", b"rows": rows,
        b"row_count": b"1", b"truncated": b"0", b"stats": b"null", b"settled_at": b"2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return StreamEntry(Position(milliseconds, number), fields | {name.encode(): value for name, value in more.items()})


def read_all(data: bytes, after: Position = START) -> list[StreamEntry]:
    found: list[StreamEntry] = []
    while piece := entries_after(data, found[-1].position if found else after):
        found += piece
    return found


def test_entries_come_back_as_they_were():
    written = [entry(5, number, rows) for number, rows in enumerate(ODD_ROWS)]
    written.append(entry(6, error=b"no such \xff table", outcome=b"failed", truncated=b"1", stats=b'{"a":1}'))
    written.append(entry(7, later=b"\x00field", of_another=b"release"))
    written.append(StreamEntry(Position(8, 0), {b"host": b"9", b"outcome": b"denylisted"}))

    assert read_all(encode(written)) == written


@pytest.mark.parametrize("number", range(10))
def test_reading_goes_on_behind_any_position(number):
    written = [entry(1 + place // 3, place % 3, b"x" * (GROUP_BYTES // 4)) for place in range(10)]

    assert read_all(encode(written), written[number].position) == written[number + 1 :]


def test_a_position_between_entries_is_as_good_as_one_of_them():
    written = [entry(10), entry(20)]
    data = encode(written)

    assert read_all(data, Position(15, 3)) == written[1:]
    assert read_all(data, Position(20, 1)) == []


def test_a_reader_holds_one_group_and_a_huge_entry_has_one_of_its_own():
    written = [entry(place, rows=b"x" * 100_000) for place in range(1, 9)]
    written.insert(4, entry(4, 5, rows=b"y" * 3_000_000))
    data = encode(written)
    after, pieces = START, []
    while piece := entries_after(data, after):
        pieces.append(piece)
        after = piece[-1].position

    assert [len(piece) for piece in pieces] == [2, 2, 1, 2, 2]


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-20], lambda data: b"PAR1" + data[9:]])
def test_damage_is_told(spoil):
    data = encode([entry(1, rows=b"abc" * 1000)])

    with pytest.raises(DamagedSegment):
        entries_after(spoil(data), START)


def test_a_changed_byte_is_noticed():
    data = bytearray(encode([entry(1, rows=bytes(range(256)) * 40)]))
    data[data.index(bytes(range(64)))] ^= 1

    with pytest.raises(DamagedSegment):
        entries_after(bytes(data), START)


def test_what_is_behind_the_damage_is_still_read():
    written = [entry(place, rows=bytes([place]) * 200_000) for place in range(1, 6)]  # one in each group
    spoilt = bytearray(zstd_free(written))
    for place in (2, 3):
        spoilt[spoilt.index(bytes([place]) * 1000) + 500] ^= 1

    with pytest.raises(DamagedSegment):
        entries_after(bytes(spoilt), Position(1, 0))
    assert salvage(bytes(spoilt), Position(1, 0)) == (2, written[3:4])
    assert salvage(bytes(spoilt), Position(3, 0)) == (1, written[3:4])
    assert salvage(bytes(spoilt), Position(4, 0)) == (0, written[4:])
    assert salvage(bytes(spoilt), Position(5, 0)) == (0, [])


def zstd_free(written: list[StreamEntry]) -> bytes:
    """A segment whose entries can be found in its bytes."""
    with pytest.MonkeyPatch.context() as patch:
        real = pyarrow.parquet.ParquetWriter
        patch.setattr(pyarrow.parquet, "ParquetWriter", lambda *a, **how: real(*a, **how | {"compression": "none"}))
        return encode(written)


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-20]])
def test_of_a_segment_without_its_end_nothing_is_known(spoil):
    data = encode([entry(1, rows=b"abc" * 1000)])

    assert salvage(spoil(data), START) == (None, [])


def test_the_same_range_has_the_same_name():
    assert segment_object(7, 3, Position(5, 1)) == "campaigns/7/3-5-1.parquet"


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2-3", "1-2 ", "١-1", "9" * 19 + "-0"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)


def test_positions_compare_as_numbers():
    assert Position.parse("9-10") > Position.parse("9-9") > Position.parse("8-11")
    assert str(Position.parse("12-3")) == "12-3"


def test_pyarrow_is_imported_by_who_needs_it():
    code = f"import sys, {campaign_archive.__name__}; sys.exit('pyarrow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

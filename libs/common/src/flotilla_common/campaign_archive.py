"""Archived answers of campaigns: one Parquet file per segment of a campaign's Redis stream.

One row is one entry of the stream (`redis_keys.campaign_rows`): what one host answered, with its place. `rows` is the
JSON text of the host's rows as it was: hosts answer with other columns than each other, in their own order, and a
column per column of theirs could not give back what they said. Texts of hosts are binary, since they may be broken
UTF-8. Fields that this release does not know travel in `more`. Row groups are small, so that a reader holds little.

pyarrow takes some 50 MB of memory: only a process that reads or writes a segment imports it, at the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GROUP_BYTES = 256 * 1024  # of one row group, before compression; an entry that is larger has one of its own
ENTRY_BYTES = 256  # what an entry takes beside its rows and error, about
_POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_INTEGERS = ("host", "row_count")
_TEXTS = ("outcome", "settled_at")
_BINARIES = ("error", "rows", "stats", "truncated")
_COLUMNS = (*_INTEGERS, *_TEXTS, *_BINARIES)


class Position(NamedTuple):
    """A place in a campaign's stream: milliseconds, and a number within them. Compares as Redis does."""

    milliseconds: int
    number: int

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `milliseconds-number`.

        Raises:
            ValueError: it is none.

        """
        found = _POSITION.fullmatch(text)
        if found is None:
            raise ValueError("no position in a stream")
        return cls(int(found[1]), int(found[2]))


START = Position(0, 0)
"""Before all entries."""


class StreamEntry(NamedTuple):
    """An entry of a campaign's stream, as Redis has it."""

    position: Position
    fields: Mapping[bytes, bytes]

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return sum(map(len, self.fields.values())) + ENTRY_BYTES


class DamagedSegment(ValueError):
    """A segment's file is not what was written."""


def archive_folder(campaign_id: int) -> str:
    """Return the folder of a campaign in the blob store. Written by live-query, read by admin-api."""
    return f"campaigns/{campaign_id}"


def segment_object(campaign_id: int, number: int, last: Position) -> str:
    """Return a segment's name. It begins where the one before ends: the same name is always the same contents."""
    return f"{archive_folder(campaign_id)}/{number}-{last}.parquet"


def encode(entries: Sequence[StreamEntry]) -> bytes:
    """Write a segment. Takes processor time and, once, the import of pyarrow: call it in a thread."""
    import pyarrow as pa  # noqa: PLC0415 - see above
    import pyarrow.parquet as pq  # noqa: PLC0415

    pool = pa.system_memory_pool()
    sink = pa.BufferOutputStream(memory_pool=pool)
    schema = _schema()
    places = ["position_ms", "position_number", "host"]
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=["outcome"],
        write_statistics=places,
        write_page_checksum=True,
        memory_pool=pool,
    ) as writer:
        for group in _groups(entries):
            writer.write_table(pa.Table.from_pylist([_row(entry) for entry in group], schema=schema))
    return bytes(sink.getvalue())


def entries_after(data: bytes, after: Position) -> list[StreamEntry]:
    """Return the entries of a segment's next row group that are behind a position; empty when none is.

    They are GROUP_BYTES, or one entry. Takes processor time and, once, the import of pyarrow: call it in a thread.

    Raises:
        DamagedSegment: the bytes are no segment.

    """
    with _damage_told(), _opened(data) as file:
        for number in _groups_behind(file, after):
            if found := _read_group(file, number, after):
                return found
    return []


class Salvage(NamedTuple):
    """What a damaged segment still has behind a position.

    `entries`: those of the next row group that can be read, none when no later one can; `lost`: how many entries are in
    the row groups before it that cannot, those before the position included; None when not even that can be read.
    """

    lost: int | None
    entries: list[StreamEntry]


def salvage(data: bytes, after: Position) -> Salvage:
    """Read on in a damaged segment. Call it in a thread, as `entries_after`."""
    lost = 0
    try:
        with _damage_told(), _opened(data) as file:
            for number in _groups_behind(file, after):
                try:
                    with _damage_told():
                        found = _read_group(file, number, after)
                except DamagedSegment:
                    lost += file.metadata.row_group(number).num_rows
                    continue
                if found:
                    return Salvage(lost, found)
    except DamagedSegment:
        return Salvage(None, [])
    return Salvage(lost, [])


@contextmanager
def _damage_told() -> Iterator[None]:
    import pyarrow as pa  # noqa: PLC0415 - see above

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedSegment(f"{type(error).__name__}: {str(error)[:200]}") from error


def _opened(data: bytes) -> pq.ParquetFile:
    import pyarrow as pa  # noqa: PLC0415 - see above
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, memory_map=False, pre_buffer=False)


def _groups_behind(file: pq.ParquetFile, after: Position) -> Iterator[int]:
    column = file.schema_arrow.names.index("position_ms")
    for number in range(file.num_row_groups):
        statistics = file.metadata.row_group(number).column(column).statistics
        if statistics is None or statistics.max >= after.milliseconds:
            yield number


def _read_group(file: pq.ParquetFile, number: int, after: Position) -> list[StreamEntry]:
    rows = file.read_row_group(number, use_threads=False).to_pylist()
    return [entry for entry in map(_entry, rows) if entry.position > after]


def _schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema(
        [
            pa.field("position_ms", pa.int64(), nullable=False),
            pa.field("position_number", pa.int64(), nullable=False),
            *(pa.field(name, pa.int64()) for name in _INTEGERS),
            *(pa.field(name, pa.string()) for name in _TEXTS),
            *(pa.field(name, pa.binary()) for name in _BINARIES),
            pa.field("more", pa.map_(pa.binary(), pa.binary())),
        ]
    )


def _groups(entries: Iterable[StreamEntry]) -> Iterator[list[StreamEntry]]:
    group: list[StreamEntry] = []
    size = 0
    for entry in entries:
        if group and size + entry.size > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group


def _row(entry: StreamEntry) -> dict[str, Any]:
    fields = {name.decode(): value for name, value in entry.fields.items()}
    row: dict[str, Any] = {"position_ms": entry.position.milliseconds, "position_number": entry.position.number}
    row |= {name: int(fields[name]) for name in _INTEGERS if name in fields}
    row |= {name: fields[name].decode() for name in _TEXTS if name in fields}
    row |= {name: fields[name] for name in _BINARIES if name in fields}
    more = [(name.encode(), value) for name, value in fields.items() if name not in _COLUMNS]
    return row | ({"more": more} if more else {})


def _entry(row: dict[str, Any]) -> StreamEntry:
    fields = {name.encode(): _bytes(row[name]) for name in _COLUMNS if row[name] is not None}
    return StreamEntry(
        Position(row["position_ms"], row["position_number"]),
        fields | dict(row["more"] or ()),
    )


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()

"""Parquet: a row per line, with the members that osquery documents as columns. docs/logs/s3.md has the schema.

No line is lost by the format: `raw` holds the line itself whenever the columns do not say all that it says (it is not
JSON, not UTF-8, has further members or other types). The columns are then filled as far as they can be.

pyarrow takes some 50 MB of memory: only a process that writes Parquet imports it, at the first batch.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from log_shipper.names import split_name
from log_shipper.sinks import Chunk, Line

if TYPE_CHECKING:
    import pyarrow as pa

SLICE_LINES = 2048  # turned into arrays at once, which nothing can interrupt
SLICE_BYTES = 2 * 1024 * 1024
GROUP_BYTES = 8 * 1024 * 1024  # of lines in a row group
SCHEMA_VERSION = b"1"

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
NOTHING = msgspec.Raw(b"")
INTEGERS = frozenset({"unix_time", "epoch", "counter", "severity", "line"})
JSON_MEMBERS = frozenset({"columns", "snapshot", "diff_results"})


class ResultLine(msgspec.Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    """A line of the result log (docs/protocol.md)."""

    name: str | None = None
    host_identifier: str | None = None
    calendar_time: str | None = None
    unix_time: Integer | None = None
    epoch: Integer | None = None
    counter: Integer | None = None
    numerics: bool | None = None
    action: str | None = None
    decorations: msgspec.Raw = NOTHING
    columns: msgspec.Raw = NOTHING
    snapshot: msgspec.Raw = NOTHING
    diff_results: msgspec.Raw = NOTHING


class StatusLine(msgspec.Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    """A line of the status log."""

    host_identifier: str | None = None
    calendar_time: str | None = None
    unix_time: Integer | None = None
    severity: Integer | None = None
    filename: str | None = None
    line: Integer | None = None
    message: str | None = None
    version: str | None = None
    decorations: msgspec.Raw = NOTHING


LINES: Mapping[str, type[ResultLine | StatusLine]] = {"result": ResultLine, "status": StatusLine}
_DECODERS = {log_type: msgspec.json.Decoder(kind).decode for log_type, kind in LINES.items()}
_decode_decorations = msgspec.json.Decoder(dict[str, str]).decode


def pack(log_type: str, chunks: Sequence[Chunk]) -> bytes:
    """Return a file with these lines."""
    import pyarrow as pa  # noqa: PLC0415 - see above
    import pyarrow.parquet as pq  # noqa: PLC0415

    pa.set_memory_pool(pa.system_memory_pool())  # the default one keeps some 40 MB more for itself
    schema = schema_of(log_type)
    file = io.BytesIO()
    batches: list[pa.RecordBatch] = []
    size = 0
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as writer:
        for rows in _slices(log_type, chunks):
            batches.append(rows.to_arrow(schema))
            size += rows.size_bytes
            if size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(batches, schema))
                batches, size = [], 0
        if batches:
            writer.write_table(pa.Table.from_batches(batches, schema))
    return file.getvalue()


def _slices(log_type: str, chunks: Sequence[Chunk]) -> Iterator[Rows]:
    """Yield the lines in parts of bounded size."""
    rows = Rows(log_type)
    for chunk in chunks:
        for line in chunk.each():
            rows.add(line)
            if len(rows) >= SLICE_LINES or rows.size_bytes >= SLICE_BYTES:
                yield rows
                rows = Rows(log_type)
    if len(rows):
        yield rows


def schema_of(log_type: str) -> pa.Schema:
    """Return the columns of a log type. Later releases may add some; none is ever changed or taken away."""
    import pyarrow as pa  # noqa: PLC0415

    text, integer = pa.string(), pa.int64()
    own: dict[str, list[tuple[str, pa.DataType]]] = {
        "result": [
            ("name", text), ("query_name", text), ("pack_name", text), ("action", text), ("epoch", integer),
            ("counter", integer), ("numerics", pa.bool_()), ("columns", text), ("snapshot", text),
            ("diff_results", text),
        ],
        "status": [
            ("severity", integer), ("filename", text), ("line", integer), ("message", text), ("version", text),
        ],
    }  # fmt: skip
    fields = [
        ("host_id", integer), ("team_id", integer), ("received_at", pa.timestamp("ms", "UTC")),
        ("stream_sequence", integer), ("stream_index", integer), ("host_identifier", text),
        ("unix_time", integer), ("calendar_time", text), *own[log_type],
        ("decorations", pa.map_(text, text)), ("raw", pa.binary()),
    ]  # fmt: skip
    return pa.schema(fields, metadata={"flotilla.log_schema": SCHEMA_VERSION})


class Rows:
    """Some lines of one log type, taken apart."""

    def __init__(self, log_type: str) -> None:
        self.size_bytes = 0
        self._log_type = log_type
        self._decode = _DECODERS[log_type]
        self._lines: list[Line] = []
        self._read: list[Any] = []
        self._raws: list[bytes | None] = []
        self._decorations: list[int | None] = []
        self._numbers: dict[bytes, int | None] = {b"": None}
        self._different: list[list[tuple[str, str]]] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: Line) -> None:
        """Add a line."""
        raw = line.raw
        is_whole = True
        try:
            if not raw.isascii():
                raw.decode()
            read = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            read, is_whole = read_what_fits(self._log_type, raw), False
        number = self._number_of(bytes(read.decorations))
        if number is None and read.decorations is not NOTHING:
            is_whole = False
        self.size_bytes += len(raw)
        self._lines.append(line)
        self._read.append(read)
        self._decorations.append(number)
        self._raws.append(None if is_whole else raw)

    def _number_of(self, decorations: bytes) -> int | None:
        """Return the place of these decorations among the different ones; None when they are no texts by name."""
        if decorations in self._numbers:
            return self._numbers[decorations]
        number: int | None = None
        try:
            read = _decode_decorations(decorations)
        except msgspec.DecodeError:
            pass
        else:
            number = len(self._different)
            self._different.append(list(read.items()))
        self._numbers[decorations] = number
        return number

    def to_arrow(self, schema: pa.Schema) -> pa.RecordBatch:
        """Return the rows."""
        import pyarrow as pa  # noqa: PLC0415

        columns = self._of_stream() | self._of_names()
        arrays = []
        for field in schema:
            if field.name == "decorations":
                different = pa.array(self._different, field.type)
                arrays.append(different.take(pa.array(self._decorations, pa.int32())))
            else:
                values = columns[field.name] if field.name in columns else self._members(field.name)
                arrays.append(pa.array(values, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _of_stream(self) -> dict[str, list[Any]]:
        """Return the columns that osquery knows nothing of."""
        lines = self._lines
        return {
            "host_id": [line.host_id for line in lines],
            "team_id": [line.team_id for line in lines],
            "received_at": [line.received_ms for line in lines],
            "stream_sequence": [line.sequence for line in lines],
            "stream_index": [line.index for line in lines],
            "raw": self._raws,
        }

    def _of_names(self) -> dict[str, list[Any]]:
        if self._log_type != "result":
            return {}
        known: dict[str, tuple[str, str]] = {}
        for read in self._read:
            if read.name and read.name not in known:
                known[read.name] = split_name(read.name)
        nobody = "", ""
        names = [known.get(read.name, nobody) for read in self._read]
        return {"query_name": [query or None for query, _ in names], "pack_name": [pack or None for _, pack in names]}

    def _members(self, name: str) -> list[Any]:
        """Return a member of all lines; JSON where it can be anything."""
        if name in JSON_MEMBERS:
            return [bytes(getattr(read, name)) or None for read in self._read]
        return [getattr(read, name) for read in self._read]


def read_what_fits(log_type: str, raw: bytes) -> ResultLine | StatusLine:
    """Return what columns can say of a line that they cannot say wholly. Numbers may be texts, as of old clients."""
    kind = LINES[log_type]
    found = kind()
    try:
        members = msgspec.json.decode(raw.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return found
    if not isinstance(members, dict):
        return found
    for field in msgspec.structs.fields(kind):
        if field.encode_name in members:
            value = members[field.encode_name]
            setattr(found, field.name, _fitting(value, getattr(found, field.name), field.name))
    return found


def _fitting(value: Any, nothing: Any, name: str) -> Any:
    """Return a member as its column's type; `nothing` where it is of another."""
    if nothing is NOTHING:
        return NOTHING if value is None else msgspec.Raw(msgspec.json.encode(value))
    kind: Any = str
    if name in INTEGERS:
        kind = Integer
    elif name == "numerics":
        kind = bool
    try:
        return msgspec.convert(value, kind, strict=kind is str)
    except msgspec.ValidationError:
        return nothing

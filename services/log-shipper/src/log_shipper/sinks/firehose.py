"""A Firehose stream: one record per line with a newline behind it, or records filled with many lines.

A record is taken or failed as a whole, so lines that share one also share its fate. Firehose bills records in steps of
5 KB: filled ones cost less; a transformation that expects a line in each record wants them single.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from pydantic import Field

from log_shipper.aws import Api, AwsSettings, Record, RecordSink, borrows_identity
from log_shipper.sinks import Kind, Limits, Line

MIB = 1024 * 1024
MOST_RECORDS = 500
RECORD_BYTES = 1_000 * 1024  # before base64
CALL_BYTES = 4_000_000


class Settings(AwsSettings):
    """Settings of a Firehose destination."""

    stream: str = Field(description="name of the Firehose stream", pattern=r"^[a-zA-Z0-9_.-]{1,64}$")
    fill_bytes: int = Field(
        0, description="fill each record with lines up to so many bytes; 0: one line a record", ge=0, le=RECORD_BYTES
    )


def records(fill_bytes: int, lines: Iterable[Line]) -> Iterator[Record]:
    """Yield records of whole lines, each ended by a newline."""
    some: list[Line] = []
    size = 0
    for line in lines:
        if some and size + len(line.raw) + 1 > fill_bytes:
            yield _record(some, size)
            some, size = [], 0
        some.append(line)
        size += len(line.raw) + 1
    if some:
        yield _record(some, size)


def _record(lines: list[Line], size: int) -> Record:
    return Record(tuple(lines), {"Data": b"".join(line.raw + b"\n" for line in lines)}, size)


def create(settings: Settings) -> RecordSink:
    """Make the sink."""
    api = Api(
        "firehose", "put_record_batch", "DeliveryStreamName", "RequestResponses", "RecordId", MOST_RECORDS, CALL_BYTES
    )
    limits = Limits(batch_bytes=8 * MIB, batch_lines=5_000, batch_seconds=1.0, line_bytes=RECORD_BYTES - 1)
    return RecordSink(api, settings, settings.stream, limits, partial(records, settings.fill_bytes))


KIND = Kind(Settings, create, borrows_identity=borrows_identity)

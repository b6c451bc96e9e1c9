"""A Kinesis data stream: one record per line, as the host sent it. The partition key is the host's id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import Field

from log_shipper.aws import Api, AwsSettings, Record, RecordSink, borrows_identity
from log_shipper.sinks import Kind, Limits, Line

MIB = 1024 * 1024
KEY_BYTES = 20  # of a host's id in digits, at most
MOST_RECORDS = 500
CALL_BYTES = 5_000_000  # what every stream takes; those for larger records take 10 MiB


class Settings(AwsSettings):
    """Settings of a Kinesis destination."""

    stream: str = Field(description="name of the data stream", pattern=r"^[a-zA-Z0-9_.-]{1,128}$")
    record_bytes: int = Field(
        MIB, description="largest record that the stream takes, with its key; 10485760 at most", ge=1024, le=10 * MIB
    )


def records(lines: Iterable[Line]) -> Iterator[Record]:
    """Yield a record for each line; all of a host go to one shard."""
    for line in lines:
        key = str(line.host_id)
        yield Record((line,), {"Data": line.raw, "PartitionKey": key}, len(line.raw) + len(key))


def create(settings: Settings) -> RecordSink:
    """Make the sink."""
    api = Api("kinesis", "put_records", "StreamName", "Records", "SequenceNumber", MOST_RECORDS, CALL_BYTES)
    limits = Limits(
        batch_bytes=8 * MIB, batch_lines=5_000, batch_seconds=1.0, line_bytes=settings.record_bytes - KEY_BYTES
    )
    return RecordSink(api, settings, settings.stream, limits, records)


KIND = Kind(Settings, create, borrows_identity=borrows_identity)

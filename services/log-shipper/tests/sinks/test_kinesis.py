"""What is Kinesis' own: keys, sizes; against moto."""

from __future__ import annotations

import pytest

from .batches import batch_of, chunk_of, numbered
from .record_service import stream_at

MIB = 1024 * 1024

# aiohttp finds a body above 1 MiB large; ResourceWarnings are errors in tests alone.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@pytest.fixture
async def stream(s3):
    found = await stream_at("kinesis", s3.endpoint, s3.bucket)
    async with found.served():
        yield found


async def test_all_records_of_a_host_have_its_id_as_key_and_are_in_order(stream):
    sink = stream.open()
    batch = batch_of(*(chunk_of(numbered(host * 10, host * 10 + 4), host, host_id=host) for host in range(1, 9)))

    await sink.deliver(batch, {})
    await sink.close()

    records = await stream.records()
    for host in range(1, 9):
        own = [record["Data"] for record in records if record["PartitionKey"] == str(host)]
        assert own == numbered(host * 10, host * 10 + 4)


async def test_the_longest_line_fits_into_a_record_with_its_key(stream):
    sink = stream.open()
    longest = b"x" * sink.limits.line_bytes

    batch = batch_of(chunk_of([longest], host_id=2**63 - 1), chunk_of([longest] * 5, 8))
    await sink.deliver(batch, {})
    await sink.close()

    assert await stream.lines() == [longest] * 6
    assert max(sum(len(data) for data in call) for call in stream.calls) <= 5_000_000


async def test_a_record_that_the_stream_finds_too_large_is_refused_alone(stream):
    sink = stream.open(record_bytes=3 * MIB)  # more than moto's streams take, as when the stream was never told
    large = b"x" * (2 * MIB)
    batch = batch_of(chunk_of([b"one", large, b"three"]))

    await sink.deliver(batch, {})
    await sink.close()

    [refusal] = batch.progress.refusals
    assert (refusal.index, len(refusal.line)) == (1, 2 * MIB)
    assert "Value at 'records.2.member.data' failed to satisfy constraint" in refusal.reason
    assert await stream.lines() == [b"one", b"three"]


async def takes(forward, records):
    """Stands for a stream that was told to take records of 10 MiB, which moto's cannot be."""
    return 200, {"FailedRecordCount": 0, "Records": [{"ShardId": "1", "SequenceNumber": "1"} for _ in records]}


async def test_a_line_of_five_megabytes_is_a_call_of_its_own_where_the_stream_takes_it(stream):
    sink = stream.open(record_bytes=10 * MIB)
    stream.faults = [takes]
    batch = batch_of(chunk_of([b"x" * 5_000_000, b"small"]))

    await sink.deliver(batch, {})
    await sink.close()

    assert [[len(data) for data in call] for call in stream.calls] == [[5_000_000], [5]]
    assert sink.limits.line_bytes == 10 * MIB - 20
    assert not batch.progress.refusals

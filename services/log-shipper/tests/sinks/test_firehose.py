"""What is Firehose's own: newlines, filled records; against moto, which puts records into a bucket."""

from __future__ import annotations

from collections import Counter

import pytest

from .batches import batch_of, chunk_of, numbered
from .record_service import fails, stream_at

# aiohttp finds a body above 1 MiB large; ResourceWarnings are errors in tests alone.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@pytest.fixture
async def stream(s3):
    found = await stream_at("firehose", s3.endpoint, s3.bucket)
    async with found.served():
        yield found


async def test_a_record_ends_with_a_newline(stream):
    sink = stream.open()

    await sink.deliver(batch_of(chunk_of([b"one", b"two"])), {})
    await sink.close()

    assert stream.calls == [[b"one\n", b"two\n"]]


async def test_filled_records_hold_whole_lines_and_fail_as_a_whole(stream):
    sink = stream.open(fill_bytes=40)
    lines = numbered(0, 6)  # of 12 bytes, three to a record
    batch = batch_of(chunk_of(lines))
    stream.faults = [fails("ServiceUnavailableException", 1)]

    await sink.deliver(batch, {})
    await sink.close()

    assert stream.calls[0] == [b"\n".join(lines[:3]) + b"\n", b"\n".join(lines[3:6]) + b"\n", lines[6] + b"\n"]
    assert stream.calls[1] == [stream.calls[0][1]]
    assert sorted(await stream.lines()) == lines
    assert not batch.progress.repeated


async def test_the_longest_line_fits_and_calls_stay_below_their_size(stream):
    sink = stream.open(fill_bytes=1_000_000)
    longest = b"x" * sink.limits.line_bytes
    batch = batch_of(chunk_of([longest] * 5 + [b"small"] * 10))

    await sink.deliver(batch, {})
    await sink.close()

    assert max(len(data) for call in stream.calls for data in call) == 1_024_000
    assert max(sum(len(data) for data in call) for call in stream.calls) <= 4_000_000
    assert Counter(len(line) for line in await stream.lines()) == {len(longest): 5, 5: 10}

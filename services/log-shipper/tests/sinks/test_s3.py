"""The S3 destination, against moto's S3 (any credentials are good there)."""

import pytest
from flotilla_common.testing import eventually
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Chunk, Limits
from log_shipper.sinks.s3 import KIND

from ..conftest import WatchedSink, crash
from .s3_place import FIRST, objects, sink_for

AT_ONCE = Limits(batch_bytes=8_000_000, batch_lines=1_000_000, batch_seconds=0.0)


async def test_an_object_per_type_is_named_by_its_range_and_first_hour(s3):
    sink = sink_for(s3, prefix="/fleet/")
    chunks = [Chunk(7, "result", 1, b"one\n"), Chunk(8, "status", 1, b"two\n"), Chunk(9, "result", 1, b"three\n")]
    target = await sink.plan(7, 9, FIRST)

    await sink.deliver(Batch((1, 1), 7, 9, FIRST, chunks), target)

    name = "date=2026-11-24/hour=05/00000000000000000007-00000000000000000009.ndjson.gz"
    assert await objects(s3) == {f"fleet/result/{name}": b"one\nthree\n", f"fleet/status/{name}": b"two\n"}


async def test_a_retry_overwrites_the_object(s3):
    sink = sink_for(s3)
    batch = Batch((1, 1), 7, 9, FIRST, [Chunk(7, "result", 1, b"one\n")])
    target = await sink.plan(7, 9, FIRST)

    await sink.deliver(batch, target)
    await sink.deliver(batch, target)

    assert list((await objects(s3)).values()) == [b"one\n"]


async def test_a_name_that_is_taken_is_not_planned_again(s3):
    sink = sink_for(s3)
    batch = Batch((1, 1), 7, 9, FIRST, [Chunk(7, "result", 1, b"old stream\n")])
    await sink.deliver(batch, await sink.plan(7, 9, FIRST))

    target = await sink.plan(7, 9, FIRST)

    assert target["object"].endswith("-00000000000000000009.1.ndjson.gz")


async def test_an_endpoint_that_does_not_answer_is_an_outage(s3):
    sink = sink_for(s3, endpoint="http://127.0.0.1:9")

    with pytest.raises(DestinationDown):
        await sink.deliver(Batch((1, 1), 1, 1, FIRST, [Chunk(1, "result", 1, b"one\n")]), {"object": "x"})


async def test_a_crash_after_the_upload_leaves_every_line_once(s3, gateway, deps, shipping):
    await gateway.send("result", 5, messages=4)
    dying = WatchedSink(sink_for(s3), limits=AT_ONCE)
    dying.after = crash
    async with shipping(deps, dying):
        await eventually(lambda: len(dying.batches) >= 2)
    await gateway.send("result", 5, messages=4)

    async with shipping(deps, WatchedSink(sink_for(s3), limits=AT_ONCE)):

        async def complete():
            found = await objects(s3)
            return b"".join(found[name] for name in sorted(found)).split(b"\n")[:-1] == gateway.sent["result"]

        await eventually(complete)


async def test_lines_wait_for_company_until_the_time_or_the_size_is_reached(s3, gateway, deps, shipping):
    sink = WatchedSink(sink_for(s3), limits=Limits(batch_bytes=4000, batch_lines=1000, batch_seconds=60.0))
    async with shipping(deps, sink):
        await gateway.send_lines([b"x" * 1500])
        await gateway.send_lines([b"y" * 1500])
        await gateway.send_lines([b"z" * 1500])
        await eventually(lambda: sink.batches)

    assert [batch.last_sequence for batch in sink.batches] == [2]


async def test_without_an_endpoint_it_is_amazons():
    settings = {"bucket": "fleet-logs", "access_key": "k", "secret_key": "s"}

    sink = KIND.open(settings)

    assert "endpoint" not in sink._store.config
    await sink.close()

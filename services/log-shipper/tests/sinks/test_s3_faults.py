"""The S3 destination when S3 does not take objects: what is missing comes later, and nothing twice."""

from __future__ import annotations

import pytest
from flotilla_common.testing import eventually
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Limits
from log_shipper.sinks.s3 import UPLOADS

from ..conftest import Crash, WatchedSink, balanced
from .gate import DENIED, NO_BUCKET, SLOW_DOWN, gate
from .s3_place import FIRST, batch, chunk, objects, of_query, sink_for

QUERIES = [f"query {number}" for number in range(20)]
MANY = chunk(7, *(of_query(query, number) for number, query in enumerate(QUERIES)))
AT_ONCE = Limits(batch_bytes=8_000_000, batch_lines=1_000_000, batch_seconds=0.0)


def each_line(found: dict[str, bytes]) -> list[bytes]:
    return sorted(line for body in found.values() for line in body.split(b"\n")[:-1])


async def test_an_outage_after_some_objects_is_made_good_by_the_retry(s3):
    async with gate(s3.endpoint) as behind:
        sink = sink_for(s3, endpoint=behind.endpoint, layout="query")
        target = await sink.plan(7, 7, FIRST)
        behind.mood = lambda method, path: "cut" if len(behind.puts) >= 5 else None
        with pytest.raises(DestinationDown):
            await sink.deliver(batch(MANY), target)
        assert 5 <= len(await objects(s3)) < 20
        behind.mood = lambda method, path: None

        await sink.deliver(batch(MANY), target)

    assert each_line(await objects(s3)) == sorted(MANY.body.split(b"\n")[:-1])
    assert len(await objects(s3)) == 20


async def test_settings_that_change_between_try_and_retry_leave_no_object_beside(s3):
    first = sink_for(s3, layout="query", most_queries=5)
    target = await first.plan(7, 7, FIRST)
    await first.deliver(batch(MANY), target)
    before = await objects(s3)

    await sink_for(s3, prefix="elsewhere", format="parquet", layout="hour").deliver(batch(MANY), target)

    assert await objects(s3) == before
    assert len(before) == 6


@pytest.mark.parametrize(
    ("mood", "text"),
    [
        (DENIED, "access is denied: the key needs s3:PutObject"),
        (NO_BUCKET, "there is no such bucket"),
        (SLOW_DOWN, "SlowDown"),
        ("cut", "bucket"),
    ],
    ids=["denied", "no bucket", "throttled", "cut"],
)
async def test_what_cannot_be_put_waits_and_says_why(s3, mood, text):
    async with gate(s3.endpoint) as behind:
        sink = sink_for(s3, endpoint=behind.endpoint)
        target = await sink.plan(7, 7, FIRST)
        behind.mood = lambda method, path: mood
        with pytest.raises(DestinationDown) as caught:
            await sink.deliver(batch(MANY), target)
        behind.mood = lambda method, path: None

        refused = await sink.deliver(batch(MANY), target)

    assert text in str(caught.value)
    assert refused == []
    assert each_line(await objects(s3)) == sorted(MANY.body.split(b"\n")[:-1])


async def test_a_bucket_that_is_not_there_is_named(s3):
    sink = sink_for(s3, bucket="nobody-made-it")

    with pytest.raises(DestinationDown, match="bucket nobody-made-it: there is no such bucket"):
        await sink.deliver(batch(MANY), {"object": "x.ndjson.gz"})


async def test_a_name_that_cannot_be_looked_up_waits_and_says_why(s3):
    async with gate(s3.endpoint) as behind:
        behind.mood = lambda method, path: DENIED

        with pytest.raises(DestinationDown, match="s3:ListBucket"):
            await sink_for(s3, endpoint=behind.endpoint).plan(7, 7, FIRST)


async def test_a_throttle_that_passes_is_not_noticed(s3):
    async with gate(s3.endpoint) as behind:
        sink = sink_for(s3, endpoint=behind.endpoint)
        moods = iter([SLOW_DOWN])
        behind.mood = lambda method, path: next(moods, None)

        await sink.deliver(batch(MANY), {"object": "x.ndjson.gz"})

    assert len(await objects(s3)) == 1


async def test_objects_of_a_batch_are_put_a_few_at_a_time(s3):
    async with gate(s3.endpoint) as behind:
        sink = sink_for(s3, endpoint=behind.endpoint, layout="query")

        await sink.deliver(batch(MANY), await sink.plan(7, 7, FIRST))

    assert 1 < behind.most_busy <= UPLOADS
    assert len(behind.puts) == 20


@pytest.mark.parametrize("format_", ["ndjson", "parquet"])
async def test_a_refusal_holds_this_destination_alone_and_buries_nothing(
    s3, gateway, deps, shipping, provision_js, format_
):
    async with gate(s3.endpoint) as behind:
        behind.mood = lambda method, path: DENIED if method == "PUT" else None
        sink = WatchedSink(sink_for(s3, endpoint=behind.endpoint, format=format_), name="s3", limits=AT_ONCE)
        await gateway.send(lines=3)
        async with shipping(deps, sink):

            async def waits() -> bool:
                return (await balanced(deps))["s3", "result"].pending == 3

            await eventually(waits)
            assert await provision_js.last_dead() is None
            behind.mood = lambda method, path: None

            async def delivered() -> bool:
                return (await balanced(deps))["s3", "result"].delivered == 3

            await eventually(delivered)


async def test_a_death_in_the_middle_of_the_uploads_and_another_after_them_leave_every_line_once(
    s3, gateway, deps, shipping
):
    lines = [of_query(query, number) for number in range(4) for query in QUERIES]
    async with gate(s3.endpoint) as behind:
        behind.mood = lambda method, path: "cut" if len(behind.puts) >= 5 else None
        dying = WatchedSink(sink_for(s3, endpoint=behind.endpoint, layout="query"), name="s3", limits=AT_ONCE)
        await gateway.send_lines(lines)
        async with shipping(deps, dying):
            await eventually(lambda: len(behind.puts) >= 5)
    assert not dying.batches
    heir = WatchedSink(sink_for(s3, layout="query"), name="s3", limits=AT_ONCE)
    heir.after = _crash_once()
    async with shipping(deps, heir):

        async def complete() -> bool:
            return (await balanced(deps))["s3", "result"].delivered == len(lines)

        await eventually(complete)

    assert len(heir.batches) == 2
    assert each_line(await objects(s3)) == sorted(lines)


def _crash_once():
    left = [True]

    def crash() -> None:
        if left:
            left.pop()
            raise Crash

    return crash

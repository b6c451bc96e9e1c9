"""What Kinesis and Firehose destinations have in common: a fate for each record, in answers of status 200 too."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.errors import Invalid
from flotilla_common.testing import eventually
from log_shipper.aws import READ_SECONDS
from log_shipper.domain.specs import MASK, checked, sealed, shown
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Limits

from ..conftest import WatchedSink, balanced
from .batches import batch_of, chunk_of, numbered
from .record_service import (
    Stream,
    breaks,
    fails,
    forgets,
    says,
    stores_and_says,
    stream_at,
    without_newlines,
)

AT_ONCE = Limits(batch_bytes=8_000_000, batch_lines=1_000_000, batch_seconds=0.0)
THROTTLE = {"kinesis": "ProvisionedThroughputExceededException", "firehose": "ServiceUnavailableException"}

# aiohttp finds a body above 1 MiB large; ResourceWarnings are errors in tests alone.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@pytest.fixture(params=["kinesis", "firehose"])
async def stream(request, s3):
    found = await stream_at(request.param, s3.endpoint, s3.bucket)
    async with found.served():
        yield found


@pytest.fixture
async def sink(stream):
    found = stream.open()
    yield found
    await found.close()


async def test_every_line_is_a_record_and_arrives(stream: Stream, sink):
    lines = [b"\xff\xfe not UTF-8", b"\x00\x00", b'{"a":1}', *numbered(0, 1200)]

    await sink.deliver(batch_of(chunk_of(lines)), {})

    assert sorted(await stream.lines()) == sorted(lines)
    assert [len(call) for call in stream.calls] == [500, 500, 204]


async def test_records_that_failed_are_sent_again_alone(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 9)))
    stream.faults = [fails(THROTTLE[stream.kind], 2, 5), fails(THROTTLE[stream.kind], 0)]

    await sink.deliver(batch, {})

    assert without_newlines(stream.calls) == [numbered(0, 9), [*numbered(2, 2), *numbered(5, 5)], numbered(2, 2)]
    assert sorted(await stream.lines()) == numbered(0, 9)
    assert not batch.progress.repeated


async def test_one_that_can_never_be_taken_is_refused_and_holds_nobody(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [fails("ValidationException", 3)]

    await sink.deliver(batch, {})

    [refusal] = batch.progress.refusals
    assert (refusal.line, refusal.index) == (b'{"number":3}', 3)
    assert refusal.reason == f"{stream.name}: ValidationException: so the test wants"
    assert sorted(await stream.lines()) == [*numbered(0, 2), *numbered(4, 4)]


async def test_a_throttle_is_waited_for_a_while_and_then_it_is_an_outage(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [says(400, THROTTLE[stream.kind])] * 6

    with pytest.raises(DestinationDown, match=f"5 records are not taken: {THROTTLE[stream.kind]}"):
        await sink.deliver(batch, {})
    stream.faults = [says(400, THROTTLE[stream.kind])]
    await sink.deliver(batch, {})

    assert sorted(await stream.lines()) == numbered(0, 4)
    assert len(stream.calls) == 8
    assert not batch.progress.repeated


async def test_a_record_that_is_throttled_again_and_again_keeps_nobody_else_waiting(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [fails(THROTTLE[stream.kind], 1), *[fails(THROTTLE[stream.kind])] * 5]

    with pytest.raises(DestinationDown, match="1 records are not taken"):
        await sink.deliver(batch, {})

    assert [line.raw for line in batch.missing()] == numbered(1, 1)


async def test_what_an_answer_does_not_speak_of_is_sent_again_and_counted(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [forgets(3)]

    await sink.deliver(batch, {})

    assert without_newlines(stream.calls) == [numbered(0, 4), numbered(3, 4)]
    assert {index for _, index in batch.progress.repeated} == {3, 4}
    assert Counter(await stream.lines()) == Counter(numbered(0, 4) + numbered(3, 4))


@pytest.mark.parametrize("fault", [breaks, stores_and_says(500, "InternalFailure")])
async def test_a_call_without_a_clear_answer_leaves_its_lines_doubtful(stream: Stream, sink, fault):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [fault]
    if fault is breaks:
        with pytest.raises(DestinationDown):
            await sink.deliver(batch, {})

    await sink.deliver(batch, {})

    assert len(batch.progress.repeated) == 5
    assert Counter(await stream.lines()) == Counter(numbered(0, 4) * 2)


async def test_a_record_that_failed_inside_the_service_may_stand_there(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [fails("InternalFailure", 2)]

    await sink.deliver(batch, {})

    assert {index for _, index in batch.progress.repeated} == {2}


async def test_a_cancelled_delivery_leaves_its_lines_doubtful(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [stream.holds]
    delivering = asyncio.create_task(sink.deliver(batch, {}))
    await stream.held.wait()

    delivering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivering
    await sink.deliver(batch, {})

    assert len(batch.progress.repeated) == 5


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDeniedException", "not authorized to perform"),
        ("ResourceNotFoundException", "Stream x not found"),
        ("ValidationException", "Value at 'streamName' failed to satisfy constraint"),
        ("ExpiredTokenException", "The security token included in the request is expired"),
    ],
)
async def test_a_call_that_is_refused_as_a_whole_refuses_no_line(stream: Stream, sink, code, message):
    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [says(400, code, message)]

    with pytest.raises(DestinationDown, match=f"{code}: {message}"):
        await sink.deliver(batch, {})
    await sink.deliver(batch, {})

    assert not batch.progress.refusals
    assert not batch.progress.repeated


async def test_a_call_that_is_refused_for_one_record_buries_that_one_alone(stream: Stream, sink):
    batch = batch_of(chunk_of(numbered(0, 4)))
    too_large = "1 validation error detected: Value at 'records.3.member.data' failed to satisfy constraint"
    stream.faults = [says(400, "ValidationException", too_large)]

    await sink.deliver(batch, {})

    [refusal] = batch.progress.refusals
    assert (refusal.line, refusal.reason) == (b'{"number":2}', f"{stream.name}: ValidationException: {too_large}")
    assert sorted(await stream.lines()) == [*numbered(0, 1), *numbered(3, 4)]
    assert not batch.progress.repeated


async def test_an_endpoint_that_is_not_there_leaves_no_doubt(stream: Stream):
    batch = batch_of(chunk_of(numbered(0, 4)))
    sink = stream.open(endpoint="http://127.0.0.1:9")

    with pytest.raises(DestinationDown, match="EndpointConnectionError"):
        await sink.deliver(batch, {})

    await sink.close()
    batch.progress.accept(batch.missing())
    assert not batch.progress.repeated


async def test_an_answer_that_is_no_answer_is_an_outage(stream: Stream, sink):
    async def page(forward, records):
        return 200, {"html": "a captive portal"}

    batch = batch_of(chunk_of(numbered(0, 4)))
    stream.faults = [page] * 6

    with pytest.raises(DestinationDown, match="the answer speaks of 0 of 5 records"):
        await sink.deliver(batch, {})


async def test_a_try_sends_a_line_or_says_why_not(stream: Stream, sink):
    assert await sink.try_out(b'{"action":"test"}') == stream.name
    assert await stream.lines() == [b'{"action":"test"}']

    stream.faults = [says(400, "AccessDeniedException", "no")]
    with pytest.raises(DestinationDown, match="AccessDeniedException: no"):
        await sink.try_out(b"x")


async def test_a_stream_that_does_not_exist_is_named(stream: Stream):
    sink = stream.open(stream="moon")

    with pytest.raises(DestinationDown, match="stream moon: ResourceNotFoundException"):
        await sink.try_out(b"x")
    await sink.close()


async def settled(deps, kind: str, delivered: int, dead_lettered: int = 0) -> bool:
    entry = (await balanced(deps))[kind, "result"]
    return (entry.delivered, entry.dead_lettered, entry.pending) == (delivered, dead_lettered, 0)


async def test_failures_in_the_middle_lose_nothing_and_what_comes_twice_is_counted(
    gateway, deps, shipping, stream: Stream, sink
):
    watched = WatchedSink(sink, name=stream.kind, limits=AT_ONCE)
    async with shipping(deps, watched):
        await gateway.send("result", 10, messages=3)
        await eventually(lambda: settled(deps, stream.kind, 30))
        stream.faults = [fails(THROTTLE[stream.kind], 0), breaks, fails("ValidationException", 1)]
        await gateway.send("result", 10)
        await eventually(lambda: not stream.faults)
        await eventually(lambda: settled(deps, stream.kind, 40))
        await gateway.send("result", 10, messages=3)
        await eventually(lambda: settled(deps, stream.kind, 70))
        entry = (await balanced(deps))[stream.kind, "result"]

    found = Counter(await stream.lines())
    assert set(found) == set(gateway.sent["result"])
    assert sum(found.values()) - len(found) == entry.duplicates == 1


async def test_an_outage_ends_and_all_arrives(gateway, deps, shipping, s3, stream: Stream):
    sink = stream.open()
    watched = WatchedSink(sink, name=stream.kind, limits=AT_ONCE)
    async with shipping(deps, watched):
        await gateway.send("result", 10)
        await eventually(lambda: settled(deps, stream.kind, 10))
        stream.faults = [says(503, "ServiceUnavailable")] * 13
        await gateway.send("result", 10)
        await eventually(lambda: watched.failures, timeout=30.0)
        await eventually(lambda: settled(deps, stream.kind, 20), timeout=30.0)
        entry = (await balanced(deps))[stream.kind, "result"]

    assert sorted(await stream.lines()) == sorted(gateway.sent["result"])
    assert entry.duplicates == 0


async def test_a_line_that_is_too_long_goes_to_the_dead_letters_with_its_size(
    gateway, deps, shipping, stream: Stream, sink, provision_js
):
    await gateway.send_lines([b"short", b"x" * 5_000_000, b"also short"])

    async with shipping(deps, WatchedSink(sink, name=stream.kind)):
        await eventually(lambda: settled(deps, stream.kind, 2, 1))

    assert sorted(await stream.lines()) == [b"also short", b"short"]
    dead = await provision_js.last_dead()
    assert f"a line of 5000000 bytes is longer than the destination's {sink.limits.line_bytes}" in str(dead.headers)


OWN = {"stream": "logs", "access_key": "k", "secret_key": "hush hush", "session_token": "hush too"}


@pytest.mark.parametrize("kind", ["kinesis", "firehose"])
def test_secrets_are_shown_to_nobody(kind):
    spec = checked(Destination(name="x", kind=kind, settings=OWN))

    assert (shown(spec)["settings"]["secret_key"], shown(spec)["settings"]["session_token"]) == (MASK, MASK)
    assert "hush" not in str(shown(spec)) + repr(spec)
    assert b"hush" not in sealed(spec, b"k" * 32)


@pytest.mark.parametrize("kind", ["kinesis", "firehose"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"secret_key": ""}, "access_key and secret_key go together"),
        ({"access_key": "", "secret_key": ""}, "session_token needs access_key"),
        ({"region": "x.evil.example/"}, "region: "),
        ({"endpoint": "file:///etc/passwd"}, "endpoint: "),
        ({"stream": ""}, "stream: "),
    ],
)
def test_what_is_wrong_is_named_and_shows_no_secret(kind, changes, reason):
    with pytest.raises(Invalid, match=reason) as refused:
        checked(Destination(name="x", kind=kind, settings=OWN | changes))

    assert "hush" not in str(refused.value)


async def test_calls_of_many_hosts_are_in_flight_together_and_one_host_keeps_its_order(stream: Stream, sink):
    chunks = [chunk_of(numbered(host * 1000, host * 1000 + 599), host, host_id=host) for host in range(1, 5)]
    stream.faults = [stream.holds] * 2
    delivering = asyncio.create_task(sink.deliver(batch_of(*chunks), {}))

    await eventually(lambda: len(stream.calls) >= 4, READ_SECONDS)  # then calls that are not answered are given up
    delivering.cancel()
    await asyncio.wait([delivering])

    for host in range(1, 5):
        sent = [data for call in without_newlines(stream.calls) for data in call if int(data[10:-1]) // 1000 == host]
        assert sent == numbered(host * 1000, host * 1000 + len(sent) - 1)

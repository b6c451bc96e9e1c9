"""The Kafka destination, against librdkafka's mock cluster (its module says what that is not)."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.errors import Invalid
from flotilla_common.testing import eventually
from flotilla_common.testing.kafka_cluster import (
    CLUSTER_NOT_AUTHORIZED,
    INIT_PRODUCER_ID,
    INVALID_TIMESTAMP,
    NOT_AUTHORIZED,
    NOT_ENOUGH_REPLICAS,
    OUT_OF_ORDER,
    TOO_LARGE,
    UNKNOWN_TOPIC,
    KafkaCluster,
)
from log_shipper.domain.specs import MASK, checked, sealed, shown
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Limits, Line
from log_shipper.sinks.kafka import KIND, KafkaSink

from ..conftest import WatchedSink, balanced
from .batches import RECEIVED_MS, batch_of, chunk_of, numbered

AT_ONCE = Limits(batch_bytes=8_000_000, batch_lines=1_000_000, batch_seconds=0.0, line_bytes=1_000_000 - 256)


@pytest.fixture
def cluster():
    found = KafkaCluster()
    found.create("logs")
    yield found
    found.close()


@pytest.fixture
async def sink_for(cluster):
    """Make sinks; all are closed at the end."""
    made: list[KafkaSink] = []

    def make(**changes) -> KafkaSink:
        made.append(KIND.open({"brokers": cluster.brokers, "topic": "logs"} | changes))
        return made[-1]

    yield make
    for sink in made:
        await sink.close()


async def values(cluster, topic: str = "logs") -> list[bytes]:
    return [message.value() for message in await cluster.messages(topic)]


async def test_a_message_is_a_line_with_its_host_as_key_and_says_where_it_is_from(cluster, sink_for):
    batch = batch_of(chunk_of([b"one", b"two"], 7), chunk_of([b"three"], 8, host_id=9))

    await sink_for().deliver(batch, {})

    found = await cluster.messages("logs")
    by_host = {key: [one.value() for one in found if one.key() == key] for key in (b"7", b"9")}
    assert by_host == {b"7": [b"one", b"two"], b"9": [b"three"]}
    [second] = [one for one in found if one.value() == b"two"]
    assert dict(second.headers()) == {"log_type": b"result", "team_id": b"3", "position": b"7-1"}
    assert second.timestamp()[1] == RECEIVED_MS
    assert not list(batch.missing())


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_many_lines_arrive_in_order_whatever_the_compression(cluster, sink_for, compression):
    lines = [b'{"number":%d,"pad":"%s"}' % (number, b"x" * 500) for number in range(3000)]

    await sink_for(compression=compression).deliver(batch_of(chunk_of(lines)), {})

    assert await values(cluster) == lines


async def test_status_lines_have_a_topic_of_their_own_where_one_is_named(cluster, sink_for):
    cluster.create("status")
    batch = batch_of(chunk_of([b"r"]), chunk_of([b"s"], 8, log_type="status"))

    await sink_for(topic_status="status").deliver(batch, {})

    assert (await values(cluster), await values(cluster, "status")) == ([b"r"], [b"s"])


async def test_odd_bytes_and_large_lines_arrive_as_they_are(cluster, sink_for):
    lines = [b"\xff\xfe not UTF-8", b"\x00\x00", b"", b'{"pad":"' + b"x" * 5_000_000 + b'"}', b"last"]

    await sink_for(max_message_bytes=8_000_000).deliver(batch_of(chunk_of(lines)), {})

    assert await values(cluster) == lines


async def test_lines_of_a_refused_record_batch_go_alone_and_only_the_cause_is_refused(cluster, sink_for):
    lines = numbered(0, 4)
    batch = batch_of(chunk_of(lines))
    cluster.answer(TOO_LARGE, 0, TOO_LARGE)  # all of them; the first alone; the second alone

    await sink_for().deliver(batch, {})

    [refusal] = batch.progress.refusals
    assert (refusal.line, refusal.index) == (lines[1], 1)
    assert "a line of 12 bytes is refused: [Error 10] MessageSizeTooLargeError" in refusal.reason
    assert await values(cluster) == [lines[0], *lines[2:]]
    assert not batch.progress.repeated


async def test_a_time_that_the_broker_does_not_take_is_refused(cluster, sink_for):
    batch = batch_of(chunk_of([b"one"]))
    cluster.answer(INVALID_TIMESTAMP)

    await sink_for().deliver(batch, {})

    assert "InvalidTimestampError" in batch.progress.refusals[0].reason


async def test_a_broker_that_is_short_of_replicas_is_asked_again_and_no_line_comes_twice(cluster, sink_for):
    batch = batch_of(chunk_of(numbered(0, 9)))
    cluster.answer(*[NOT_ENOUGH_REPLICAS] * 3)

    await sink_for().deliver(batch, {})

    assert await values(cluster) == numbered(0, 9)
    assert not batch.progress.repeated


async def test_what_some_brokers_took_before_another_failed_is_not_sent_again(cluster, sink_for):
    chunks = [chunk_of(numbered(host * 10, host * 10 + 4), host, host_id=host) for host in range(1, 9)]
    lines, batch = [line for host in range(1, 9) for line in numbered(host * 10, host * 10 + 4)], batch_of(*chunks)
    cluster.answer(0, OUT_OF_ORDER)

    with pytest.raises(DestinationDown, match="OutOfOrderSequenceNumber"):
        await sink_for().deliver(batch, {})
    taken, left = sorted(await values(cluster)), sorted(line.raw for line in batch.missing())
    await sink_for().deliver(batch, {})

    assert taken
    assert left
    assert sorted(taken + left) == sorted(await values(cluster)) == lines
    assert 0 < len(batch.progress.repeated) <= len(left)  # doubtful are those alone that the failed request had


async def test_a_broker_that_throttles_holds_its_answers_back_and_no_line_comes_twice(cluster, sink_for):
    """As Kafka did until 2.0 with who is above a quota; later ones answer, and tell how long to keep quiet."""
    sink, batch = sink_for(compression="none"), batch_of(chunk_of([b"x" * 100_000] * 10))
    await sink.deliver(batch_of(chunk_of([b"first"])), {})
    cluster.answer_after(0.3)

    began = time.monotonic()
    await sink.deliver(batch, {})
    took = time.monotonic() - began
    cluster.answer_after(0)

    assert took > 1.0  # five record batches, one after the other
    assert Counter(await values(cluster)) == {b"first": 1, b"x" * 100_000: 10}
    assert not batch.progress.repeated


async def test_a_topic_that_does_not_exist_is_named(cluster, sink_for):
    cluster.refuse_topic("logs", UNKNOWN_TOPIC)
    sink, batch = sink_for(), batch_of(chunk_of([b"one"]))

    with pytest.raises(DestinationDown, match="topic logs: brokers know of no such topic"):
        await sink.deliver(batch, {})
    cluster.refuse_topic("logs", 0)
    await sink.deliver(batch, {})

    assert await values(cluster) == [b"one"]
    assert not batch.progress.repeated


async def test_a_user_who_may_not_write_is_told_so(cluster, sink_for):
    batch = batch_of(chunk_of([b"one"]))
    cluster.answer(NOT_AUTHORIZED)
    with pytest.raises(DestinationDown, match="topic logs: this user may not write to it"):
        await sink_for().deliver(batch, {})
    cluster.answer(CLUSTER_NOT_AUTHORIZED, to=INIT_PRODUCER_ID)
    with pytest.raises(DestinationDown, match="IdempotentWrite"):
        await sink_for().deliver(batch, {})

    await sink_for().deliver(batch, {})

    assert await values(cluster) == [b"one"]
    assert not batch.progress.repeated


async def test_a_producer_that_brokers_do_not_follow_any_more_is_made_anew(cluster, sink_for):
    sink, batch = sink_for(), batch_of(chunk_of([b"one"]))
    cluster.answer(OUT_OF_ORDER)

    with pytest.raises(DestinationDown, match="OutOfOrderSequenceNumber"):
        await sink.deliver(batch, {})
    await sink.deliver(batch, {})

    assert await values(cluster) == [b"one"]
    assert len(batch.progress.repeated) == 1  # a word came, and does not tell whether an earlier try was stored


async def test_a_cancelled_delivery_leaves_its_lines_doubtful(cluster, sink_for):
    sink, batch = sink_for(), batch_of(chunk_of([b"warm up"]))
    await sink.deliver(batch, {})
    cluster.answer_after(0.5)
    batch = batch_of(chunk_of(numbered(0, 4)))
    delivering = asyncio.create_task(sink.deliver(batch, {}))
    await eventually(lambda: sink._producer is not None and sink._producer._message_accumulator._pending_batches)

    delivering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivering

    cluster.answer_after(0)
    await sink.deliver(batch, {})
    assert len(batch.progress.repeated) == 5


async def test_it_closes_though_brokers_are_gone_and_lines_are_under_way(cluster, sink_for):
    sink = sink_for()
    await sink.deliver(batch_of(chunk_of([b"one"])), {})
    cluster.go_down()
    delivering = asyncio.create_task(sink.deliver(batch_of(chunk_of([b"two"])), {}))
    await eventually(lambda: sink._producer._message_accumulator._batches or delivering.done())

    began = time.monotonic()
    await sink.close()

    assert time.monotonic() - began < 8.0
    with pytest.raises(DestinationDown):
        await delivering
    assert not [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]


async def test_a_silent_broker_does_not_hold_a_close(cluster, sink_for):
    sink = sink_for()
    await sink.deliver(batch_of(chunk_of([b"one"])), {})
    cluster.answer_after(60)
    delivering = asyncio.create_task(sink.deliver(batch_of(chunk_of([b"two"])), {}))
    await eventually(lambda: sink._producer._message_accumulator._pending_batches)

    began = time.monotonic()
    await sink.close()

    assert time.monotonic() - began < 8.0
    with pytest.raises(DestinationDown):
        await delivering
    assert not [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]


async def test_an_outage_says_what_it_is_and_does_not_fill_the_log(cluster, sink_for, caplog):
    sink = sink_for(delivery_seconds=2.0)
    await sink.deliver(batch_of(chunk_of([b"one"])), {})
    cluster.go_down()

    with pytest.raises(DestinationDown, match="topic logs: brokers did not take lines within 2 s"):
        await sink.deliver(batch_of(chunk_of([b"two"])), {})

    del sink
    gc.collect()
    assert len(caplog.records) < 10
    assert not [one for one in caplog.records if one.name == "asyncio"]


async def test_a_try_says_where_the_line_stands(cluster, sink_for):
    place = await sink_for().try_out(b'{"action":"test"}')

    [message] = await cluster.messages("logs")
    assert place == f"logs/{message.partition()}/{message.offset()}"
    assert message.value() == b'{"action":"test"}'


async def test_brokers_that_are_not_there_are_named_with_the_reason(sink_for):
    with pytest.raises(DestinationDown, match=r"brokers 127.0.0.1:9: .*Connect call failed"):
        await sink_for(brokers="127.0.0.1:9").try_out(b"x")


async def test_the_longest_line_fits_into_a_record_batch_that_brokers_take(cluster, sink_for):
    sink = sink_for(compression="none", max_message_bytes=100_000)
    longest = Line(2**53, 2**31, "result", 2**63 - 1, 2**63 - 1, 2**41, b"x" * sink.limits.line_bytes)

    builder, sent, _ = sink._built(await sink._opened(), longest, iter(()), set())

    assert sent == [longest]
    assert 99_800 < builder.size() <= 100_000


async def settled(deps, delivered: int, dead_lettered: int = 0) -> bool:
    entry = (await balanced(deps))["kafka", "result"]
    return (entry.delivered, entry.dead_lettered, entry.pending) == (delivered, dead_lettered, 0)


async def test_an_outage_in_the_middle_loses_nothing_and_what_comes_twice_is_counted(
    gateway, deps, shipping, cluster, sink_for
):
    sink = WatchedSink(sink_for(delivery_seconds=1.0), name="kafka", limits=AT_ONCE)
    async with shipping(deps, sink):
        await gateway.send("result", 10, messages=5)
        await eventually(lambda: settled(deps, 50))
        cluster.go_down()
        await gateway.send("result", 10, messages=5)
        await eventually(lambda: len(sink.failures) >= 2, timeout=20.0)
        cluster.come_up()
        await gateway.send("result", 10)
        await eventually(lambda: settled(deps, 110), timeout=60.0)
        entry = (await balanced(deps))["kafka", "result"]

    found = Counter(await values(cluster))
    assert set(found) == set(gateway.sent["result"])
    assert sum(found.values()) - len(found) <= entry.duplicates <= 50


async def test_lines_that_were_stored_without_an_answer_stand_there_twice_and_the_books_say_how_many(
    gateway, deps, shipping, cluster, sink_for
):
    sink = WatchedSink(sink_for(delivery_seconds=1.0), name="kafka", limits=AT_ONCE)
    async with shipping(deps, sink):
        await gateway.send("result", 5)
        await eventually(lambda: settled(deps, 5))
        cluster.answer_after(3.0)
        await gateway.send("result", 7)
        await eventually(lambda: sink.failures, timeout=20.0)
        cluster.answer_after(0)
        await eventually(lambda: settled(deps, 12), timeout=60.0)
        entry = (await balanced(deps))["kafka", "result"]

    found = Counter(await values(cluster))
    assert set(found) == set(gateway.sent["result"])
    assert sum(found.values()) == 12 + entry.duplicates
    assert entry.duplicates == 7


async def test_a_line_that_is_too_long_goes_to_the_dead_letters_with_its_size(
    gateway, deps, shipping, cluster, sink_for, provision_js
):
    await gateway.send_lines([b"short", b"x" * 1_000_000, b"also short"])

    async with shipping(deps, WatchedSink(sink_for(), name="kafka")):
        await eventually(lambda: settled(deps, 2, 1))

    assert await values(cluster) == [b"short", b"also short"]
    dead = await provision_js.last_dead()
    assert "a line of 1000000 bytes is longer than the destination's 999744" in str(dead.headers)


SETTINGS = {"brokers": "a:9092, b:9093", "topic": "logs"}
SECURE = {"security_protocol": "SASL_SSL", "username": "u", "password": "hush hush"}


def test_the_password_is_shown_to_nobody():
    spec = checked(Destination(name="k", kind="kafka", settings=SETTINGS | SECURE))

    assert shown(spec)["settings"]["password"] == MASK
    assert "hush" not in str(shown(spec)) + repr(spec)
    assert b"hush" not in sealed(spec, b"k" * 32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"brokers": "nowhere"}, "brokers: .*host:port"),
        ({"brokers": " , "}, "brokers: .*one broker at least"),
        ({"topic": "a b"}, "topic: "),
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs username and password"),
        ({"ca_certificate": "/etc/passwd"}, "ca_certificate: .*certificates in PEM"),
        (SECURE | {"sasl_mechanism": "GSSAPI"}, "sasl_mechanism: "),
    ],
)
def test_what_is_wrong_is_named_and_shows_no_secret(changes, reason):
    with pytest.raises(Invalid, match=reason) as refused:
        checked(Destination(name="k", kind="kafka", settings=SETTINGS | changes))

    assert "hush" not in str(refused.value)

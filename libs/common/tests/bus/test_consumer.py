"""Consumers settle every message: handled, waiting or buried."""

import asyncio
from dataclasses import replace
from typing import ClassVar

import pytest
from flotilla_common.bus import consumer
from flotilla_common.bus.consumer import Subscription, consume, event_subscription
from flotilla_common.contracts.definitions import TeamChangedV1
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES
from flotilla_common.errors import Poison
from flotilla_common.testing import eventually
from nats.js.errors import ServerError


class Seen:
    def __init__(self) -> None:
        self.teams: list[int] = []


async def run_consumer(bus, subscription, deps):
    ready = asyncio.Event()
    task = asyncio.create_task(consume(bus, subscription, deps, ready=ready))
    await ready.wait()
    return task


def batches(durable: str, handle) -> Subscription[bytes, None]:
    subject = "definitions.batch_test.v1"
    return Subscription("DEFINITIONS", subject, durable, lambda message: message.data, handle, batch=16)


async def dead_messages(js):
    state = (await js.stream_info("DEAD")).state
    return [await js.get_msg("DEAD", number) for number in range(state.first_seq, state.last_seq + 1)]


async def is_dead(js, messages: int = 1) -> bool:
    return (await js.stream_info("DEAD")).state.messages >= messages


async def waiting(bus, durable: str) -> int:
    """How many messages are not settled yet."""
    info = await bus.js.consumer_info("DEFINITIONS", durable)
    return info.num_ack_pending + info.num_pending


@pytest.fixture
def short_delays(monkeypatch):
    monkeypatch.setattr(consumer, "OUTAGE_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(consumer, "RETRY_DELAY_SECONDS", 0.02)


async def test_an_event_published_twice_is_consumed_once(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        deps.teams.append(event.team_id)

    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)
    event = TeamChangedV1(team_id=4)
    await admin.publish(event)
    await admin.publish(event)
    await admin.publish(TeamChangedV1(team_id=5))

    await eventually(lambda: seen.teams == [4, 5])
    task.cancel()


async def test_poison_is_buried_with_its_reason_and_the_next_message_is_handled(bus_for, provision):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        if event.team_id == 13:
            raise Poison("team\n13")
        deps.teams.append(event.team_id)

    bad = TeamChangedV1(team_id=13)
    await admin.client.publish("definitions.team_changed.v1", b"no json")
    await admin.publish(bad)
    await admin.publish(TeamChangedV1(team_id=14))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)
    await eventually(lambda: seen.teams == [14])
    task.cancel()
    first, second = await dead_messages(provision)

    assert first.data == b"no json"
    assert first.headers["Reason"].startswith("ValidationError: ")
    assert second.data == bad.model_dump_json().encode()
    assert second.headers["Reason"] == "Poison: team 13"
    assert second.headers["Consumer"] == "config-merger-test"
    assert second.headers["Original-Subject"] == "definitions.team_changed.v1"
    assert second.headers["Original-Sequence"] == "2"
    assert await waiting(merger, "config-merger-test") == 0


async def test_a_bug_is_tried_again_and_then_buried(bus_for, provision, short_delays):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()
    attempts: list[int] = []

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        attempts.append(event.team_id)
        if event.team_id == 13:
            raise KeyError("bug")
        deps.teams.append(event.team_id)

    await admin.publish(TeamChangedV1(team_id=13))
    await admin.publish(TeamChangedV1(team_id=14))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)
    await eventually(lambda: is_dead(provision))
    task.cancel()
    [buried] = await dead_messages(provision)

    assert seen.teams == [14]
    assert attempts.count(13) == consumer.RETRIES
    assert buried.headers["Reason"] == "KeyError: 'bug'"


async def test_a_bug_after_an_outage_has_all_its_retries(bus_for, provision, short_delays):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    raised: list[type[Exception]] = []

    async def handle(_event: TeamChangedV1, _deps: None) -> None:
        raised.append(ConnectionRefusedError if len(raised) < 2 * consumer.RETRIES else KeyError)
        raise raised[-1]("x")

    await admin.publish(TeamChangedV1(team_id=13))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), None)
    await eventually(lambda: is_dead(provision), timeout=20)
    task.cancel()

    assert raised.count(KeyError) == consumer.RETRIES


async def test_a_full_dead_makes_poison_wait_and_is_no_burial(bus_for, provision, short_delays, monkeypatch):
    monkeypatch.setattr(consumer, "BURIALS_IN_A_ROW", 2)
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    attempts: list[int] = []

    async def handle(event: TeamChangedV1, _deps: None) -> None:
        attempts.append(event.team_id)
        raise Poison("x")

    limits = (await provision.stream_info("DEAD")).config
    await provision.update_stream(limits.evolve(max_bytes=1))
    await admin.publish(TeamChangedV1(team_id=13))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), None)
    await eventually(lambda: len(attempts) > 3)

    assert await waiting(merger, "config-merger-test") == 1
    assert await merger.check() is None
    await provision.update_stream(limits)
    await eventually(lambda: is_dead(provision))
    assert await merger.check() is None
    task.cancel()


async def test_many_burials_in_a_row_stop_this_consumer_alone_and_the_process_is_not_ready(
    bus_for, provision, monkeypatch
):
    monkeypatch.setattr(consumer, "BURIALS_IN_A_ROW", 3)
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()

    async def refuse(_items: list[bytes], _deps: None) -> None:
        raise Poison("a bad release")

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        deps.teams.append(event.team_id)

    for _ in range(5):
        await admin.js.publish("definitions.batch_test.v1", b"x")
    bad = await run_consumer(merger, batches("config-merger-bad", refuse), None)
    good = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-good", handle), seen)
    await asyncio.wait_for(bad, 10)
    await admin.publish(TeamChangedV1(team_id=14))
    await eventually(lambda: seen.teams == [14])
    good.cancel()

    assert len(await dead_messages(provision)) == 3
    assert await waiting(merger, "config-merger-bad") == 2
    reason = await merger.check()
    assert reason is not None
    assert "config-merger-bad: 3 messages in a row were buried, the last for Poison: a bad release" in reason


async def test_burials_with_handled_messages_between_them_stop_nothing(bus_for, provision, monkeypatch):
    monkeypatch.setattr(consumer, "BURIALS_IN_A_ROW", 2)
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    handled: list[bytes] = []

    async def handle(items: list[bytes], _deps: None) -> None:
        if b"bad" in items:
            raise Poison("bad")
        handled.extend(items)

    for body in (b"bad", b"1", b"bad", b"2", b"bad", b"3"):
        await admin.js.publish("definitions.batch_test.v1", body)
    task = await run_consumer(merger, batches("config-merger-batch", handle), None)
    await eventually(lambda: handled == [b"1", b"2", b"3"])

    assert len(await dead_messages(provision)) == 3
    assert not task.done()
    task.cancel()


async def test_poison_of_the_largest_size_is_buried_in_parts(bus_for, provision):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    body = b"x" * MAX_PAYLOAD_BYTES

    async def refuse(_items: list[bytes], _deps: None) -> None:
        raise Poison("x" * 600)

    await admin.js.publish("definitions.batch_test.v1", body)
    task = await run_consumer(merger, batches("config-merger-batch", refuse), None)
    await eventually(lambda: is_dead(provision, messages=2))
    task.cancel()
    buried = await dead_messages(provision)

    assert b"".join(part.data for part in buried) == body
    assert [part.headers["Part"] for part in buried] == ["1/2", "2/2"]


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(), ServerError(code=500, err_code=10047, description="insufficient storage")]
)
async def test_an_outage_buries_nothing_and_the_message_comes_again(bus_for, provision, short_delays, error):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()
    attempts: list[int] = []

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        attempts.append(event.team_id)
        if len(attempts) <= consumer.RETRIES:
            raise error
        deps.teams.append(event.team_id)

    await admin.publish(TeamChangedV1(team_id=4))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)

    await eventually(lambda: seen.teams == [4])
    task.cancel()

    assert not await is_dead(provision)


async def test_one_bad_message_of_a_batch_harms_no_other(bus_for):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    handled: list[bytes] = []

    async def handle(items: list[bytes], _deps: None) -> None:
        if b"bad" in items:
            raise Poison("bad")
        handled.extend(items)

    for body in (b"1", b"bad", b"2"):
        await admin.js.publish("definitions.batch_test.v1", body)
    task = await run_consumer(merger, batches("config-merger-batch", handle), None)

    await eventually(lambda: sorted(handled) == [b"1", b"2"])
    task.cancel()


class Unknown(TeamChangedV1):
    subject: ClassVar[str] = "nobody.keeps.this"


async def test_a_subject_without_stream_is_a_mistake_seen_at_import():
    with pytest.raises(LookupError):
        event_subscription(Unknown, "x", lambda _event, _deps: asyncio.sleep(0))


async def test_what_comes_one_by_one_is_handled_together(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), list[int]()

    async def handle(items: list[bytes], _deps: None) -> None:
        seen.append(len(items))

    task = await run_consumer(merger, replace(batches("config-merger-gathers", handle), gather_seconds=3.0), None)
    await admin.client.publish("definitions.batch_test.v1", b"first")
    await eventually(lambda: seen == [1])  # it does not wait for others
    for number in range(5):
        await admin.js.publish("definitions.batch_test.v1", b"%d" % number)

    await eventually(lambda: seen == [1, 5], timeout=15.0)
    task.cancel()


async def test_a_backlog_does_not_wait_for_more(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), list[int]()
    for number in range(50):
        await admin.js.publish("definitions.batch_test.v1", b"%d" % number)

    async def handle(items: list[bytes], _deps: None) -> None:
        seen.append(len(items))

    task = await run_consumer(merger, replace(batches("config-merger-backlog", handle), gather_seconds=600.0), None)

    await eventually(lambda: sum(seen) == 50, timeout=15.0)
    task.cancel()

"""Consumers settle every message: handled, waiting or buried."""

import asyncio
from typing import ClassVar

import pytest
from flotilla_common.bus.consumer import Subscription, consume, event_subscription
from flotilla_common.contracts.definitions import TeamChangedV1
from flotilla_common.errors import Poison
from flotilla_common.testing import eventually


class Seen:
    def __init__(self) -> None:
        self.teams: list[int] = []


async def run_consumer(bus, subscription, deps):
    ready = asyncio.Event()
    task = asyncio.create_task(consume(bus, subscription, deps, ready=ready))
    await ready.wait()
    return task


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


async def test_poison_is_buried_with_its_reason_and_the_next_message_is_handled(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        if event.team_id == 13:
            raise Poison("team 13")
        deps.teams.append(event.team_id)

    await admin.client.publish("definitions.team_changed.v1", b"no json")
    await admin.publish(TeamChangedV1(team_id=13))
    await admin.publish(TeamChangedV1(team_id=14))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)

    await eventually(lambda: seen.teams == [14])
    task.cancel()


async def test_an_outage_buries_nothing_and_the_message_comes_again(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()
    attempts: list[int] = []

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        attempts.append(event.team_id)
        if len(attempts) == 1:
            raise ConnectionRefusedError
        deps.teams.append(event.team_id)

    await admin.publish(TeamChangedV1(team_id=4))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)

    await eventually(lambda: seen.teams == [4])
    task.cancel()


async def test_one_bad_message_of_a_batch_harms_no_other(bus_for):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    handled: list[bytes] = []

    async def handle(items: list[bytes], _deps: None) -> None:
        if b"bad" in items:
            raise Poison("bad")
        handled.extend(items)

    subscription: Subscription[bytes, None] = Subscription(
        "DEFINITIONS",
        "definitions.batch_test.v1",
        "config-merger-batch",
        lambda message: message.data,
        handle,
        batch=16,
    )
    for body in (b"1", b"bad", b"2"):
        await admin.js.publish("definitions.batch_test.v1", body)
    task = await run_consumer(merger, subscription, None)

    await eventually(lambda: sorted(handled) == [b"1", b"2"])
    task.cancel()


class Unknown(TeamChangedV1):
    subject: ClassVar[str] = "nobody.keeps.this"


async def test_a_subject_without_stream_is_a_mistake_seen_at_import():
    with pytest.raises(LookupError):
        event_subscription(Unknown, "x", lambda _event, _deps: asyncio.sleep(0))

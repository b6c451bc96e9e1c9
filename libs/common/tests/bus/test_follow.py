"""Followers see everything in order and survive."""

import asyncio

import nats
import nats.errors
import pytest
from flotilla_common.bus import follow
from flotilla_common.bus.follow import Follower
from flotilla_common.contracts.hosts import (
    HostChangedV1,
    HostRecord,
)
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from nats.aio.msg import Msg

RECORD = HostRecord(host_id=7, revision=3, node_key_hash="ab" * 16, team_id=None, platform="ubuntu")


async def following(bus_for):
    """Return a bus to publish with, what a follower has seen, the follower once it has caught up, and its task."""
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="new")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    return inventory, seen, follower, task


def changed(revision: int) -> HostChangedV1:
    return HostChangedV1(host=RECORD.model_copy(update={"revision": revision}))


@pytest.mark.impatient
async def test_a_follower_sees_what_was_stored_and_what_comes_and_survives_a_restart(bus_for, nats_server):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    await inventory.publish(changed(1))
    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="all")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    assert seen == [1]
    await inventory.publish(changed(2))
    await eventually(lambda: seen == [1, 2])

    nats_server.running.stop()
    nats_server.running.start()
    await eventually(lambda: inventory.client.is_connected)
    await eventually(lambda: _publishes(inventory, changed(3)), timeout=20)

    await eventually(lambda: seen == [1, 2, 3], timeout=20)
    task.cancel()


async def _publishes(bus, event) -> bool:
    try:
        await bus.publish(event)
    except (Unavailable, nats.errors.Error):
        return False
    return True


async def test_a_follower_is_silent_while_its_stream_does_not_answer_though_the_bus_does(
    bus_for, provision, monkeypatch
):
    monkeypatch.setattr(follow, "FETCH_TIMEOUT_SECONDS", 0.1)

    async def ignore(_message: Msg) -> None:
        return

    gateway = await bus_for("agent_gateway")
    follower = Follower(gateway, "HOSTS", ["hosts.>"], ignore, start="new")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    config = (await provision.stream_info("HOSTS")).config

    await eventually(lambda: follower.silence_seconds < 0.1)
    await provision.delete_stream("HOSTS")
    await eventually(lambda: follower.silence_seconds > 1.0)
    assert gateway.client.is_connected
    await provision.add_stream(config)
    await eventually(lambda: follower.silence_seconds < 0.1)
    task.cancel()


async def test_a_follower_takes_again_what_was_lost_on_the_way(bus_for):
    inventory, seen, follower, task = await following(bus_for)
    await inventory.publish(changed(1))
    await eventually(lambda: seen == [1])

    follower._delivered -= 1  # as if one more message had been sent than has come
    await inventory.publish(changed(2))
    await inventory.publish(changed(3))

    await eventually(lambda: seen == [1, 2, 3])
    task.cancel()


async def test_a_follower_of_new_messages_misses_none_when_its_consumer_is_lost_before_the_first(bus_for):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="new")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    task.cancel()
    await asyncio.wait([task])
    await inventory.publish(HostChangedV1(host=RECORD))
    task = asyncio.create_task(follower.run())

    await eventually(lambda: seen == [RECORD.revision])
    task.cancel()


async def test_a_follower_whose_consumer_is_deleted_makes_another_at_once_and_misses_nothing(bus_for, provision):
    inventory, seen, follower, task = await following(bus_for)
    await inventory.publish(changed(1))
    await eventually(lambda: seen == [1])

    assert await provision.delete_consumer("HOSTS", follower._name)
    await inventory.publish(changed(2))

    await eventually(lambda: seen == [1, 2], timeout=follow.FETCH_TIMEOUT_SECONDS)
    task.cancel()


async def test_a_consumer_that_hands_out_nothing_though_it_has_something_is_replaced(bus_for, provision, monkeypatch):
    monkeypatch.setattr(follow, "FETCH_TIMEOUT_SECONDS", 0.2)
    inventory, seen, follower, task = await following(bus_for)
    await inventory.publish(changed(1))
    await eventually(lambda: seen == [1])
    stuck = follower._name

    assert (await provision.pause_consumer("HOSTS", stuck, "2100-01-01T00:00:00Z")).paused
    await inventory.publish(changed(2))

    await eventually(lambda: seen == [1, 2])
    assert follower._name != stuck
    task.cancel()


async def test_a_follower_with_a_backlog_has_not_heard_everything(bus_for, monkeypatch):
    monkeypatch.setattr(follow, "BATCH", 1)
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    for revision in (1, 2, 3):
        await inventory.publish(changed(revision))
    silences: list[float] = []

    async def note(_message: Msg) -> None:
        silences.append(follower.silence_seconds)

    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="all")
    follower._heard_at -= 100.0
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()

    await eventually(lambda: follower.silence_seconds < 100.0)
    assert len(silences) == 3
    assert min(silences) >= 100.0
    task.cancel()

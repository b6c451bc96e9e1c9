"""Followers see everything in order and survive."""

import asyncio

import nats
import nats.errors
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


async def test_a_follower_sees_what_was_stored_and_what_comes_and_survives_a_restart(bus_for, nats_server):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    def changed(revision: int) -> HostChangedV1:
        return HostChangedV1(host=RECORD.model_copy(update={"revision": revision}))

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


async def test_a_follower_takes_again_what_was_lost_on_the_way(bus_for, monkeypatch):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    def changed(revision: int) -> HostChangedV1:
        return HostChangedV1(host=RECORD.model_copy(update={"revision": revision}))

    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="new")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
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

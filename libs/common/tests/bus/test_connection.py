"""The connection: settled, silent or closed."""

import asyncio
import contextlib
from datetime import UTC, datetime

from flotilla_common.cancellation import heed
from flotilla_common.contracts.hosts import (
    HostsSeenV1,
)


async def test_what_is_settled_is_heard_by_all(bus_for):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    for _ in range(100):
        heard = await inventory.client.subscribe(HostsSeenV1.subject)
        await inventory.settle()
        await gateway.client.publish(HostsSeenV1.subject, b"x")
        await heard.next_msg(timeout=5)
        await heard.unsubscribe()


async def test_an_event_that_may_be_lost_is_lost_while_there_is_no_connection(bus_for):
    bus = await bus_for("agent_gateway")
    await bus.client.close()

    await bus.send(HostsSeenV1(bitmap="", seen_at=datetime.now(UTC)))


async def test_a_swallowed_cancellation_is_heeded():
    async def swallow() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        heed()

    task = asyncio.create_task(swallow())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()

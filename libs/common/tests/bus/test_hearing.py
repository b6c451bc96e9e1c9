"""Core subjects: one process of a service hears each message, and none after it has stopped."""

from __future__ import annotations

import asyncio

from flotilla_common.bus.hearing import hear
from flotilla_common.testing import eventually

SUBJECT = "hosts.seen.v1"


async def test_each_message_reaches_one_of_those_who_hear(bus_for):
    buses = [await bus_for("inventory") for _ in range(2)]
    gateway = await bus_for("agent_gateway")
    heard: list[bytes] = []

    async def note(message):
        heard.append(message.data)

    ready = [asyncio.Event() for _ in buses]
    hearing = [
        asyncio.create_task(hear(bus, SUBJECT, note, ready=event)) for bus, event in zip(buses, ready, strict=True)
    ]
    for event in ready:
        await event.wait()
    await gateway.client.publish(SUBJECT, b"both hear")
    await eventually(lambda: heard)
    hearing[0].cancel()
    await asyncio.wait(hearing[:1])
    await buses[0].settle()
    sent = [b"%d" % number for number in range(20)]
    for data in sent:
        await gateway.client.publish(SUBJECT, data)
    await eventually(lambda: len(heard) > len(sent))
    hearing[1].cancel()
    await asyncio.wait(hearing)

    assert heard == [b"both hear", *sent]

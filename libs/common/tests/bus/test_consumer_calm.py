"""Consumers in quiet and in trouble: an idle one stays bound, an outage is waited for once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from flotilla_common.bus import consumer
from flotilla_common.bus.consumer import Subscription, consume
from flotilla_common.bus.pulling import Pull
from flotilla_common.testing import eventually

SUBJECT = "definitions.calm_test.v1"


def subscription(handle) -> Subscription[bytes, None]:
    return Subscription("DEFINITIONS", SUBJECT, "config-merger-calm", lambda message: message.data, handle, batch=16)


async def test_a_batch_waits_for_an_outage_as_one_and_comes_again(bus_for, monkeypatch):
    monkeypatch.setattr(consumer, "OUTAGE_DELAY_SECONDS", 0.2)
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    calls: list[list[bytes]] = []
    handled: list[bytes] = []

    async def handle(items: list[bytes], _deps: None) -> None:
        calls.append(items)
        if len(calls) == 1:
            raise ConnectionRefusedError
        handled.extend(items)

    for body in (b"1", b"2", b"3"):
        await admin.js.publish(SUBJECT, body)
    task = asyncio.create_task(consume(merger, subscription(handle), None))
    await eventually(lambda: sorted(handled) == [b"1", b"2", b"3"], timeout=30)
    task.cancel()

    assert calls[0] == [b"1", b"2", b"3"]
    assert handled.count(b"1") == 1


async def test_what_is_worked_on_comes_to_nobody_else_until_its_process_is_gone(bus_for):
    admin, merger, other = await bus_for("admin_api"), await bus_for("config_merger"), await bus_for("config_merger")
    begun: list[bytes] = []

    async def hang(items: list[bytes], _deps: None) -> None:
        begun.extend(items)
        await asyncio.Event().wait()

    impatient = replace(subscription(hang), ack_wait_seconds=0.6)
    for body in (b"1", b"2"):
        await admin.js.publish(SUBJECT, body)
    task = asyncio.create_task(consume(merger, impatient, None))
    await eventually(lambda: begun)
    async with Pull(other, "DEFINITIONS", impatient.durable) as second:
        meanwhile = await second.take(16, 3.0)
        task.cancel()
        afterwards = await second.take(1, 10.0)

    assert meanwhile == []
    assert [message.data for message in afterwards] == [b"1"]

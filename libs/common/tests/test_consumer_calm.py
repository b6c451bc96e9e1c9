"""Consumers in quiet and in trouble: an idle one stays bound, an outage is waited for once, an end is quick."""

from __future__ import annotations

import asyncio

from flotilla_common.bus import consumer
from flotilla_common.bus.consumer import Subscription, consume
from flotilla_common.testing import eventually

SUBJECT = "definitions.calm_test.v1"


def subscription(handle) -> Subscription[bytes, None]:
    return Subscription("DEFINITIONS", SUBJECT, "config-merger-calm", lambda message: message.data, handle, batch=16)


async def nothing(_items: list[bytes], _deps: None) -> None:
    """Handle nothing."""


async def test_an_idle_consumer_stays_bound(bus_for, monkeypatch):
    merger, binds, fetches = await bus_for("config_merger"), [], []
    bind, fetch = consumer._bind, consumer._fetch

    async def counted_bind(*arguments):
        binds.append(arguments)
        return await bind(*arguments)

    async def counted_fetch(*arguments):
        fetches.append(arguments)
        return await fetch(*arguments)

    monkeypatch.setattr(consumer, "FETCH_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(consumer, "_bind", counted_bind)
    monkeypatch.setattr(consumer, "_fetch", counted_fetch)
    task = asyncio.create_task(consume(merger, subscription(nothing), None))
    await eventually(lambda: len(fetches) >= 40, timeout=60)
    task.cancel()

    assert len(binds) == 1


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


async def test_a_bus_with_messages_that_nobody_takes_closes_at_once(bus_for):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    untaken = await merger.client.subscribe("_INBOX.config_merger.test")
    await merger.client.flush()
    await merger.client.publish("$JS.API.STREAM.INFO.DEFINITIONS", reply="_INBOX.config_merger.test")
    await eventually(lambda: untaken.pending_msgs == 1)

    async with asyncio.timeout(10):
        await merger.close()

    assert merger.client.is_closed
    assert admin.client.is_connected

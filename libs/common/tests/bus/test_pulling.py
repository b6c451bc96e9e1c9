"""Pulling: a message is handed on when it comes, whatever became of the requests before."""

from __future__ import annotations

import asyncio
import os
import signal

import nats.js.errors
import pytest
from flotilla_common.bus.pulling import Pull
from flotilla_common.testing import eventually
from nats.js.api import AckPolicy, ConsumerConfig

SUBJECT = "definitions.pull_test.v1"
LONG_SECONDS = 100.0


@pytest.fixture
async def pull(bus_for):
    bus = await bus_for("config_merger")
    config = ConsumerConfig(durable_name="config-merger-pull", filter_subject=SUBJECT, ack_policy=AckPolicy.EXPLICIT)
    await bus.js.add_consumer("DEFINITIONS", config)
    async with Pull(bus, "DEFINITIONS", "config-merger-pull") as pulling:
        yield pulling


async def bodies(pull, batch: int = 16, seconds: float = LONG_SECONDS) -> list[bytes]:
    async with asyncio.timeout(20):
        taken = await pull.take(batch, seconds)
    for message in taken:
        await message.ack()
    return [message.data for message in taken]


async def test_each_message_is_handed_on_at_once_while_the_request_stays_open(pull, bus_for):
    admin = await bus_for("admin_api")
    for number in range(5):
        await admin.js.publish(SUBJECT, b"%d" % number)
        assert await bodies(pull) == [b"%d" % number]


async def test_a_message_that_comes_while_somebody_waits_ends_the_wait(pull, bus_for):
    admin = await bus_for("admin_api")
    waiting = asyncio.create_task(bodies(pull))
    await eventually(lambda: pull._open > 0)
    await admin.js.publish(SUBJECT, b"late")

    assert await waiting == [b"late"]


async def test_a_request_brings_no_more_than_its_batch(pull, bus_for):
    admin = await bus_for("admin_api")
    for number in range(10):
        await admin.js.publish(SUBJECT, b"%d" % number)
    got: list[bytes] = []
    while len(got) < 10:
        taken = await bodies(pull, batch=4)
        assert 1 <= len(taken) <= 4
        got += taken

    assert got == [b"%d" % number for number in range(10)]


async def test_nothing_is_returned_when_nothing_came(pull):
    assert await bodies(pull, seconds=0.2) == []
    assert await bodies(pull, seconds=0.2) == []


async def test_a_lost_connection_does_not_leave_it_waiting_for_a_forgotten_request(pull, bus_for, nats_server):
    admin = await bus_for("admin_api")
    waiting = asyncio.create_task(pull.take(16, LONG_SECONDS))
    await eventually(lambda: pull._open > 0)
    os.kill(nats_server.running.pid, signal.SIGKILL)  # it says nothing any more
    nats_server.running.stop()
    nats_server.running.start()
    async with asyncio.timeout(30):
        assert await waiting == []
    await eventually(lambda: admin.client.is_connected, timeout=30)
    await admin.js.publish(SUBJECT, b"after")

    assert await bodies(pull) == [b"after"]


async def test_a_consumer_that_is_gone_is_an_error(pull, bus_for):
    bus = await bus_for("config_merger")
    waiting = asyncio.create_task(pull.take(16, LONG_SECONDS))
    await eventually(lambda: pull._open > 0)
    await bus.js.delete_consumer("DEFINITIONS", "config-merger-pull")

    with pytest.raises(nats.js.errors.APIError):
        await waiting


async def test_a_request_brings_no_more_bytes_than_it_may_and_the_next_one_goes_on(bus_for):
    bus, admin = await bus_for("config_merger"), await bus_for("admin_api")
    config = ConsumerConfig(durable_name="config-merger-bytes", filter_subject=SUBJECT, ack_policy=AckPolicy.EXPLICIT)
    await bus.js.add_consumer("DEFINITIONS", config)
    sent = [b"%d" % number + b"x" * 1000 for number in range(5)]
    for body in sent:
        await admin.js.publish(SUBJECT, body)

    found = []
    async with Pull(bus, "DEFINITIONS", "config-merger-bytes", most_bytes=2500) as pull:
        while len(found) < len(sent):
            came = await bodies(pull, seconds=1.0)
            assert len(came) <= 2
            found += came

    assert found == sent

"""Custody: a message is stored, or its publisher knows that it is not."""

import asyncio

import pytest
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.errors import Refused, Unavailable


async def test_custody_returns_the_sequence_of_a_stored_message(bus_for):
    gateway = await bus_for("agent_gateway")
    custody = CustodyPublisher(gateway)
    await custody.open()

    sequences = await asyncio.gather(*(custody.publish(f"logs.result.v1.{n % 16}", b"x") for n in range(50)))

    assert sorted(sequences) == list(range(1, 51))


async def test_custody_refuses_what_no_stream_takes(bus_for, monkeypatch):
    monkeypatch.setattr("flotilla_common.bus.custody.ACK_TIMEOUT_SECONDS", 0.1)
    gateway = await bus_for("agent_gateway")
    custody = CustodyPublisher(gateway)
    await custody.open()

    with pytest.raises(Unavailable):
        await custody.publish("hosts.seen.v1", b"x")


async def test_custody_says_at_once_that_a_full_stream_refuses(bus_for, provision, monkeypatch):
    monkeypatch.setattr("flotilla_common.bus.custody.ACK_TIMEOUT_SECONDS", 3600.0)
    await provision.update_stream((await provision.stream_info("LOGS")).config.evolve(max_bytes=1024))
    custody = CustodyPublisher(await bus_for("agent_gateway"))
    await custody.open()

    with pytest.raises(Refused, match="maximum bytes exceeded"):
        await custody.publish("logs.result.v1.1", b"x" * 2000)

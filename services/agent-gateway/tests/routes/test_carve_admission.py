"""Carves while something is short or down: refused before bodies are kept, and tried again."""

from __future__ import annotations

import asyncio

import pytest
from agent_gateway.consumers import watch_streams
from agent_gateway.domain import carves
from agent_gateway.domain.bodies import CARVES_LEAVE
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually

from ..carving import BEGIN, SUCCESS, Carver
from ..conftest import BOTH_ROADS

pytestmark = BOTH_ROADS


async def test_no_carve_begins_and_no_block_is_kept_while_the_stream_of_carves_is_short_of_room(carver: Carver) -> None:
    house = carver.house
    house.gateway.admission.carves.measured(96, 100)
    operations = dict(house.gateway.counters.backend_operations)

    begun = await house.post("carve/begin", b"what nobody reads")
    block = await house.post("carve/block", b"what nobody reads")

    assert (begun.status_code, begun.json()) == (503, {"error": "unavailable"})
    assert (block.status_code, block.content) == (503, b"error: unavailable\n")
    assert house.gateway.admission.refused == {("carve", "full"): 2}
    assert dict(house.gateway.counters.backend_operations) == operations
    log = {"node_key": carver.key, "log_type": "result", "data": [{"n": 1}]}
    assert (await house.post("log", log)).json() == {}


async def test_carves_wait_as_soon_as_logs_do_when_memory_is_short_and_writes_do_not(carver: Carver) -> None:
    house, memory = carver.house, carver.house.gateway.memory
    answers = []
    for free in (CARVES_LEAVE + 1024 * 1024, CARVES_LEAVE - 1):
        memory.used = memory.limit - free
        write = await house.post("distributed/write", {"node_key": carver.key, "queries": {}})
        answers.append(((await carver.send(0, b"x")).content, write.json()))
    memory.used = 0

    assert answers == [(b'{"success":true}', {}), (b"error: unavailable\n", {})]
    assert house.gateway.admission.refused == {("carve", "memory"): 1}


async def test_blocks_that_come_together_keep_no_more_than_what_carves_may_have(carver: Carver) -> None:
    gateway = carver.house.gateway
    gateway.memory.used = gateway.memory.limit - CARVES_LEAVE - 256 * 1024

    reply = await carver.send(0, b"x" * 250_000)
    gateway.memory.used = 0

    assert reply.content == b"error: unavailable\n"
    assert gateway.admission.refused == {}


async def test_a_block_tries_whether_the_stream_takes_blocks_again_and_a_begin_does_not(
    carver: Carver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = carver.house.gateway.admission.carves
    gate.circuit.failed(Unavailable("refused"), for_certain=True)
    refused = (await carver.send(0, b"x")).content
    monkeypatch.setattr(gate.circuit, "_probe_at", 0.0)

    begun = await carver.house.post("carve/begin", BEGIN | {"node_key": carver.key})
    is_open = gate.circuit.is_open
    taken = (await carver.send(0, b"x")).json()

    assert [refused, begun.status_code, is_open, taken] == [b"error: unavailable\n", 200, True, SUCCESS]
    assert not gate.circuit.is_open


async def test_while_live_query_does_not_answer_it_is_left_alone_and_blocks_are_taken(
    carver: Carver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carves, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(carves, "ASK_AGAIN_SECONDS", 0.01)
    house = carver.house
    house.live_query.refusal = Unavailable("down")
    begin = BEGIN | {"node_key": carver.key}
    asked = len(house.live_query.begins)

    replies = [(await house.post("carve/begin", begin)).json() for _ in range(6)]

    assert replies == [{"error": "unavailable"}] * 6
    assert len(house.live_query.begins) - asked <= 10
    assert (await carver.send(0, b"x")).json() == SUCCESS
    house.live_query.refusal = None

    async def begins() -> bool:
        return "session_id" in (await house.post("carve/begin", begin)).json()

    await eventually(begins, timeout=20.0)


async def test_the_stream_of_carves_is_measured(carver: Carver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_streams, "EVERY_SECONDS", 0.05)
    gateway = carver.house.gateway
    await carver.send(0, b"x" * 200_000)
    watching = asyncio.create_task(watch_streams.watch_streams(carver.house.bus, gateway.admission.gates))

    await eventually(lambda: gateway.admission.carves.fullness > 0)

    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)

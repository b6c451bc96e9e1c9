"""Bodies above their caps, compressed, endless or slow: each gets an answer with `error`, and no memory stays held."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest
from agent_gateway.domain import bodies
from flotilla_common.contracts.logs import STREAM

from ..conftest import BOTH_ROADS, BusFor, House, LimitStream

pytestmark = BOTH_ROADS

MIB = 1024 * 1024
LIMITS = {
    "enroll": bodies.ENROLL_LIMIT,
    "config": bodies.READ_LIMIT,
    "distributed/read": bodies.READ_LIMIT,
    "distributed/write": bodies.DISTRIBUTED_WRITE_LIMIT,
    "log": bodies.LOG_LIMIT,
}
TOO_LARGE = "body_too_large"


async def blanks(size: int) -> AsyncIterator[bytes]:
    """A body of blanks, in pieces."""
    piece = b" " * MIB
    for _ in range(size // MIB):
        yield piece
    yield piece[: size % MIB]


async def padded(house: House, path: str, size: int) -> tuple[int, object]:
    """Post blanks, then an empty object, together so many bytes; return status and error."""

    async def body() -> AsyncIterator[bytes]:
        async for piece in blanks(size - 2):
            yield piece
        yield b"{}"

    reply = await house.client.post(f"/api/osquery/{path}", content=body())
    return reply.status_code, reply.json()["error"]


@pytest.mark.parametrize("path", LIMITS)
async def test_a_body_above_its_cap_is_refused_and_one_at_the_cap_is_read(house: House, path: str) -> None:
    at_the_cap = await padded(house, path, LIMITS[path])
    above = await padded(house, path, LIMITS[path] + 1)

    assert above == (413, TOO_LARGE)
    assert at_the_cap[1] != TOO_LARGE
    assert house.gateway.memory.used == 0


@pytest.mark.parametrize("path", LIMITS)
async def test_gzip_is_understood_everywhere(house: House, path: str) -> None:
    body = gzip.compress(json.dumps({"node_key": house.inventory.add_host(), "log_type": "result"}).encode())

    reply = await house.post(path, body, headers={"Content-Encoding": "gzip"})

    assert reply.json().get("error") == ("malformed_body" if path == "enroll" else None)


@pytest.mark.parametrize("path", LIMITS)
async def test_a_body_that_inflates_beyond_the_cap_is_refused(house: House, path: str) -> None:
    bomb = gzip.compress(b" " * (LIMITS[path] + 1), 1)

    reply = await house.post(path, bomb, headers={"Content-Encoding": "gzip"})

    assert (reply.status_code, reply.json()["error"]) == (413, TOO_LARGE)
    assert house.gateway.memory.used == 0


async def test_a_compressed_body_that_inflates_to_nothing_ends_at_the_cap_too(house: House) -> None:
    empty_blocks = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 20_000

    reply = await house.post("config", empty_blocks, headers={"Content-Encoding": "gzip"})

    assert (reply.status_code, reply.json()["error"]) == (413, TOO_LARGE)


async def test_what_follows_the_end_of_a_gzip_body_is_ignored(house: House) -> None:
    key = house.inventory.add_host()
    body = gzip.compress(json.dumps({"node_key": key}).encode())

    async def pieces() -> AsyncIterator[bytes]:
        yield body + b"more"
        yield b"and more"

    reply = await house.client.post(
        "/api/osquery/distributed/read", content=pieces(), headers={"Content-Encoding": "gzip"}
    )

    assert reply.json() == {"queries": {}}


async def test_another_encoding_is_read_as_it_is(house: House) -> None:
    key = house.inventory.add_host()

    reply = await house.post("distributed/read", {"node_key": key}, headers={"Content-Encoding": "identity"})

    assert reply.json() == {"queries": {}}


async def test_a_body_without_end_loses_its_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DRAIN_LIMIT", MIB)

    reply = await house.client.post("/api/osquery/config", content=blanks(3 * MIB))

    assert (reply.status_code, reply.json()["error"]) == (413, TOO_LARGE)
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["enroll", "config", "distributed/read", "distributed/write", "log"])
async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(house: House, path: str) -> None:
    house.gateway.body_seconds = 0.05

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    reply = await house.client.post(f"/api/osquery/{path}", content=never())

    assert (reply.status_code, reply.json()["error"]) == (408, "body_too_slow")
    assert reply.headers["connection"] == "close"
    assert house.gateway.memory.used == 0


async def test_a_full_stream_is_not_asked_at_every_post_and_bodies_are_not_kept_meanwhile(
    house: House, limit_stream: LimitStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_gateway.domain.circuits.PROBE_SECONDS", 3600.0)
    key = house.inventory.add_host()
    body = {"data": [{"text": "x" * 2000}], "log_type": "result", "node_key": key}
    await limit_stream(1024)
    first = await house.post("log", body)
    published = house.gateway.counters.backend_operations["publish"]
    most_held = 0

    async def watched() -> AsyncIterator[bytes]:
        nonlocal most_held
        async for piece in blanks(4 * MIB):
            yield piece
            most_held = max(most_held, house.gateway.memory.used)

    second = await house.client.post("/api/osquery/log", content=watched())

    assert [first.json(), second.json()] == [{"error": "unavailable"}] * 2
    assert house.gateway.counters.backend_operations["publish"] == published
    assert most_held == 0


async def test_a_stream_that_has_room_again_takes_lines_again(
    house: House, limit_stream: LimitStream, bus_for: BusFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_gateway.domain.circuits.PROBE_SECONDS", 0.0)
    key = house.inventory.add_host()
    body = {"data": [{"text": "x" * 2000}], "log_type": "result", "node_key": key}
    await limit_stream(1024)
    refused = await house.post("log", body)
    await limit_stream(MIB)

    taken = await house.post("log", body)

    assert [refused.json(), taken.json()] == [{"error": "unavailable"}, {}]
    assert (await (await bus_for("log_shipper")).js.stream_info(STREAM)).state.messages == 1


async def test_a_gateway_that_hears_nothing_keeps_no_log_body(house: House) -> None:
    house.gateway.silence = lambda: 61.0

    reply = await house.client.post("/api/osquery/log", content=blanks(bodies.LOG_LIMIT + MIB))

    assert (reply.status_code, reply.json()) == (503, {"error": "unavailable"})

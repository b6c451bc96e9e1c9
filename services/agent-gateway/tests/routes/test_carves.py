"""POST carve/begin and carve/block."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from typing import Any

import msgspec
import pytest
from agent_gateway.domain import carve_bodies, carves
from agent_gateway.domain.bodies import Memory
from agent_gateway.domain.slots import Slots
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.contracts.carves import (
    BadCarve,
    CarveDiffers,
    CarveExpired,
    CarveOverBudget,
    CarveSession,
    CarveUnasked,
    request_digest,
)
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually

from ..carving import BEGIN, REQUEST_ID, SUCCESS, Carver
from ..conftest import BOTH_ROADS, BusFor, House

pytestmark = BOTH_ROADS


@pytest.mark.parametrize("prefix", ["/api/osquery", "/api/v1/osquery"])
async def test_a_carve_begins_with_a_session_id(house: House, prefix: str) -> None:
    key = house.inventory.add_host(7)

    reply = await house.post("carve/begin", BEGIN | {"node_key": key}, prefix=prefix)

    assert reply.status_code == 200
    assert reply.json()["success"] is True
    assert isinstance(reply.json()["session_id"], str)
    assert reply.json()["session_id"]
    [asked] = house.live_query.begins
    assert (asked.host_id, asked.carve_guid, asked.request_id) == (7, BEGIN["carve_id"], REQUEST_ID)
    assert (asked.block_count, asked.block_size, asked.carve_size) == (3, 300_000, 700_123)


async def test_old_clients_send_numbers_as_text(house: House) -> None:
    body = BEGIN | {"block_count": "3", "block_size": "300000", "carve_size": "700123"}

    reply = await house.post("carve/begin", body | {"node_key": house.inventory.add_host(7)})

    assert reply.status_code == 200
    assert house.live_query.begins[0].carve_size == 700_123


@pytest.mark.parametrize(
    "change",
    [
        {"block_count": None},
        {"block_size": -1},
        {"carve_size": 1.5},
        {"carve_size": True},
        {"carve_size": 2**60},
        {"carve_size": "9" * 5000},
        {"carve_id": ""},
        {"carve_id": 5},
        {"carve_id": "x" * 256},
        {"carve_id": "a\0"},
        {"request_id": None},
    ],
)
async def test_a_begin_of_a_wrong_shape_asks_nobody(house: House, change: dict[str, Any]) -> None:
    reply = await house.post("carve/begin", BEGIN | {"node_key": house.inventory.add_host(7)} | change)

    assert (reply.status_code, reply.json()["error"]) == (400, "malformed_body")
    assert house.live_query.begins == []


async def test_a_begin_needs_the_key_of_a_host(house: House) -> None:
    replies = [await house.post("carve/begin", BEGIN | key) for key in ({}, {"node_key": "nobody's"})]

    assert [reply.json()["error"] for reply in replies] == ["missing_node_key", "invalid_node_key"]
    assert all(reply.json()["node_invalid"] is True for reply in replies)
    assert house.live_query.begins == []


@pytest.mark.parametrize(
    "refusal", [CarveUnasked(), CarveOverBudget(), CarveDiffers(), CarveExpired(), BadCarve("too large")]
)
async def test_what_live_query_refuses_is_an_error_and_no_reason_to_enroll(house: House, refusal: Any) -> None:
    house.live_query.refusal = refusal

    reply = await house.post("carve/begin", BEGIN | {"node_key": house.inventory.add_host(7)})

    assert reply.json()["error"] == refusal.code
    assert "node_invalid" not in reply.json()
    assert 400 <= reply.status_code < 500


@pytest.mark.parametrize("refusal", [CarveDiffers("begun with other sizes"), BadCarve("too large")])
async def test_what_is_wrong_with_a_carve_is_said(house: House, refusal: Any) -> None:
    house.live_query.refusal = refusal

    reply = await house.post("carve/begin", BEGIN | {"node_key": house.inventory.add_host(7)})

    assert reply.json() == {"error": refusal.code, "reason": str(refusal)}


async def test_a_block_is_in_the_stream_when_the_host_hears_so(carver: Carver) -> None:
    data = b"a file" * 100

    reply = await carver.send(1, data)

    assert (reply.status_code, reply.json()) == (200, SUCCESS)
    [part] = await carver.stored()
    assert (part.carve_id, part.host_id, part.block_id, part.part, part.parts) == (1, 7, 1, 0, 1)
    assert (part.data, part.block_size, part.fault) == (data, len(data), "")
    assert part.block_sha256 == hashlib.sha256(data).digest()


async def test_text_of_old_clients_has_escaped_slashes_and_numbers_as_text(carver: Carver) -> None:
    text = base64.b64encode(b"\xff" * 30).decode()
    body = f'{{"block_id":"0","session_id":"{carver.session_id}","request_id":"{REQUEST_ID}","data":"'
    assert "/" in text

    reply = await carver.house.post("carve/block", (body + text.replace("/", "\\/") + '"}').encode())

    assert reply.json() == SUCCESS
    assert (await carver.stored())[0].data == b"\xff" * 30


async def test_a_block_larger_than_a_message_goes_in_parts(carver: Carver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carve_bodies, "PART_BYTES", 100_000)
    data = bytes(range(256)) * 1000

    reply = await carver.send(0, data)

    assert reply.json() == SUCCESS
    parts = await carver.stored()
    assert [(part.part, part.parts) for part in parts] == [(0, 3), (1, 3), (2, 3)]
    assert b"".join(part.data for part in parts) == data
    assert {part.block_sha256 for part in parts} == {hashlib.sha256(data).digest()}


async def test_the_largest_block_that_a_body_can_hold_is_taken(house: House, bus_for: BusFor) -> None:
    size = 12_000_000
    begin = BEGIN | {"block_count": 1, "block_size": size, "carve_size": size}
    key = house.inventory.add_host(7)
    session_id = (await house.post("carve/begin", begin | {"node_key": key})).json()["session_id"]
    carver = Carver(house, bus_for, key, session_id)

    reply = await carver.send(0, b"\xa5" * size)

    assert reply.json() == SUCCESS
    parts = await carver.stored()
    assert [len(part.data) for part in parts] == [carve_bodies.PART_BYTES, size - carve_bodies.PART_BYTES]
    assert house.gateway.memory.used == 0


async def test_a_block_above_the_cap_is_refused_with_error(carver: Carver) -> None:
    reply = await carver.send(0, "A" * (16 * 1024 * 1024))

    assert (reply.status_code, reply.json()["error"]) == (413, "body_too_large")
    assert await carver.stored() == []


@pytest.mark.parametrize(
    ("block_id", "data", "fault"),
    [
        (3, b"x", "block_id is 3, there are 3 blocks"),
        (-1, b"x", "block_id is no number"),
        (None, b"x", "block_id is no number"),
        (1, b"", "data has 0 bytes, a block has 1 to 300000"),
        (1, b"x" * 300_001, "data has 300001 bytes, a block has 1 to 300000"),
        (1, "no base64!", "data: "),
        (1, "YQ", "data: "),
    ],
)
async def test_a_bad_block_is_refused_and_its_carve_hears_why(
    carver: Carver, block_id: Any, data: bytes | str, fault: str
) -> None:
    reply = await carver.send(block_id, data)

    assert (reply.status_code, reply.json()["error"]) == (400, "malformed_body")
    [part] = await carver.stored()
    assert part.fault.startswith(fault)
    assert (part.carve_id, part.host_id, part.data) == (1, 7, b"")
    assert carver.house.gateway.counters.carve_blocks == {"faulty": 1}


@pytest.mark.parametrize("data", [None, 5, ["YQ=="]])
async def test_data_that_is_no_text_is_refused(carver: Carver, data: Any) -> None:
    assert (await carver.send(1, data)).json()["error"] == "malformed_body"


def session(**members: Any) -> CarveSession:
    usual = CarveSession(1, 7, request_digest(REQUEST_ID), 3, 300_000, int(time.time()) + 60)
    return msgspec.structs.replace(usual, **members)


async def test_a_session_id_is_good_at_once_at_every_gateway_without_asking(carver: Carver) -> None:
    carver.session_id = carver.house.live_query.sign(session())
    asked = dict(carver.house.gateway.counters.backend_operations)

    reply = await carver.send(0, b"x")

    assert reply.json() == SUCCESS
    assert dict(carver.house.gateway.counters.backend_operations) == asked | {"publish": 1}


@pytest.mark.parametrize("session_id", ["", "x", "x" * 5000, "é" * 100, "A" * 200, None, 5, ["x"], "====", "a.b"])
async def test_a_session_id_that_nobody_gave_is_refused_without_asking(carver: Carver, session_id: Any) -> None:
    before = dict(carver.house.gateway.counters.backend_operations)

    reply = await carver.send(0, b"x", session_id=session_id)

    assert (reply.status_code, reply.json()) == (403, {"error": "invalid_carve_session"})
    assert dict(carver.house.gateway.counters.backend_operations) == before


async def test_a_session_id_signed_by_another_key_or_for_another_purpose_is_refused(carver: Carver) -> None:
    live_query = carver.house.live_query
    ids = [live_query.sign(session(), key=Ed25519PrivateKey.generate()), live_query.sign(session(), domain=b"")]

    replies = [await carver.send(0, b"x", session_id=one) for one in ids]

    assert {reply.json()["error"] for reply in replies} == {"invalid_carve_session"}


async def test_an_expired_session_id_is_refused_without_asking(carver: Carver) -> None:
    carver.session_id = carver.house.live_query.sign(session(expires_at=int(time.time())))
    before = dict(carver.house.gateway.counters.backend_operations)

    reply = await carver.send(0, b"x")

    assert (reply.status_code, reply.json()) == (403, {"error": "carve_session_expired"})
    assert dict(carver.house.gateway.counters.backend_operations) == before


@pytest.mark.parametrize("request_id", ["fleet_distributed_query_10_1_abc", "", None, 5])
async def test_a_session_id_is_good_for_its_request_alone(carver: Carver, request_id: Any) -> None:
    assert (await carver.send(0, b"x", request_id=request_id)).json()["error"] == "invalid_carve_session"


async def test_a_key_in_the_header_must_be_that_of_the_carves_host(carver: Carver) -> None:
    keys = [carver.key, carver.house.inventory.add_host(8), "nobody's"]

    replies = [await carver.send(0, b"x", headers={"Authorization": f"NodeKey {key}"}) for key in keys]

    assert replies[0].json() == SUCCESS
    assert replies[1].json() == {"error": "invalid_carve_session"}
    assert replies[2].json() == {"error": "invalid_node_key", "node_invalid": True}


async def test_the_blocks_of_a_deleted_host_that_shows_its_key_are_refused(carver: Carver) -> None:
    header = {"Authorization": f"NodeKey {carver.key}"}
    assert (await carver.send(0, b"x", headers=header)).json() == SUCCESS
    await carver.house.inventory.delete(carver.key)

    await eventually(lambda: not carver.house.gateway.known_host(carver.key, None))

    assert (await carver.send(1, b"y", headers=header)).json() == {"error": "invalid_node_key", "node_invalid": True}


async def test_an_identical_block_is_taken_again_and_stored_once(carver: Carver) -> None:
    replies = [await carver.send(2, b"the same") for _ in range(2)]
    replies += await asyncio.gather(*(carver.send(2, b"the same") for _ in range(4)))

    assert [reply.json() for reply in replies] == [SUCCESS] * 6
    assert [part.block_id for part in await carver.stored()] == [2]


async def test_a_block_that_cannot_be_stored_now_gets_an_answer_that_the_carver_repeats_after(
    carver: Carver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> int:
        raise Unavailable("full")

    monkeypatch.setattr(carver.house.gateway.carves, "_publish", full)

    reply = await carver.send(0, b"x")

    assert reply.status_code == 503
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(reply.content)


async def test_so_does_one_that_meets_a_bug(carver: Carver, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(carver.house.gateway.carves, "session_of", broken)

    reply = await carver.send(0, b"x")

    assert (reply.status_code, reply.content) == (500, b"error: unavailable\n")


async def test_so_does_one_for_which_there_is_no_memory_or_no_bus(carver: Carver) -> None:
    gateway = carver.house.gateway
    gateway.memory = Memory(limit=0)
    crowded = await carver.send(0, b"x")
    gateway.memory, gateway.silence = Memory(), lambda: 61.0
    deaf = await carver.send(0, b"x")

    assert [reply.content for reply in (crowded, deaf)] == [b"error: unavailable\n"] * 2


async def test_a_begin_waits_for_a_live_query_that_comes_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carves, "ASK_AGAIN_SECONDS", 0.05)
    house.live_query.refusal = Unavailable("down")
    post = asyncio.create_task(house.post("carve/begin", BEGIN | {"node_key": house.inventory.add_host(7)}))
    await eventually(lambda: len(house.live_query.begins) > 2)
    house.live_query.refusal = None

    assert (await post).json()["success"] is True


async def test_a_begin_that_nobody_answers_is_an_error_in_json(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carves, "PATIENCE_SECONDS", 0.5)
    house.live_query.refusal = Unavailable("down")

    reply = await house.post("carve/begin", BEGIN | {"node_key": house.inventory.add_host(7)})

    assert (reply.status_code, reply.json()) == (503, {"error": "unavailable"})


async def test_beyond_the_queue_begins_are_refused_and_blocks_and_polls_go_on(
    carver: Carver, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = carver.house
    house.live_query.hold = asyncio.Event()
    monkeypatch.setattr(carves, "QUEUE_SECONDS", 30.0)
    monkeypatch.setattr(carves, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(house.gateway.carves, "_slots", Slots(4, queue=8, lane=8))
    begins = [
        asyncio.create_task(house.post("carve/begin", BEGIN | {"node_key": carver.key, "carve_id": f"c-{number}"}))
        for number in range(4 + 8 + 5)
    ]
    await eventually(lambda: sum(task.done() for task in begins) == 5)

    assert (await carver.send(0, b"x")).json() == SUCCESS
    assert await house.read(carver.key) == {"queries": {}}
    house.live_query.hold.set()
    replies = [await task for task in begins]
    assert sorted(reply.status_code for reply in replies) == [200] * (4 + 8) + [503] * 5


async def test_a_host_that_begins_many_carves_holds_up_nobody_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy, other = house.inventory.add_host(7), house.inventory.add_host(8)
    house.live_query.hold = asyncio.Event()
    monkeypatch.setattr(house.gateway.carves, "_slots", Slots(1, queue=8, lane=2))

    async def begin(key: str) -> int:
        return (await house.post("carve/begin", BEGIN | {"node_key": key})).status_code

    many = [asyncio.create_task(begin(greedy)) for _ in range(5)]
    await eventually(lambda: sum(task.done() for task in many) == 2)
    one = asyncio.create_task(begin(other))
    await eventually(lambda: house.gateway.carves.waiting == 3)
    house.live_query.hold.set()

    assert await one == 200
    assert sorted([await task for task in many]) == [200] * 3 + [503] * 2
    assert [asked.host_id for asked in house.live_query.begins[:3]] in ([7, 7, 8], [7, 8, 7])

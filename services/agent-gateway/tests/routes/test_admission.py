"""Admission by class: what is short or down is refused before bodies are kept, and tried again."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agent_gateway.consumers import watch_streams
from agent_gateway.domain import bodies
from agent_gateway.domain.circuits import PROBE_SECONDS
from agent_gateway.listeners import listen_plain
from flotilla_common.contracts.campaigns import ANSWERS_STREAM
from flotilla_common.contracts.logs import STREAM as LOGS
from flotilla_common.contracts.results import STREAM as RESULTS
from flotilla_common.errors import NotNow, Refused
from flotilla_common.testing import eventually
from flotilla_stack.servers.ports import choose_port
from structlog.testing import capture_logs

from ..conftest import BOTH_ROADS, BusFor, House, LimitStream
from ..listening import is_listening
from ..posting import logs_of, most_held
from ..stand_ins import SECRET

pytestmark = BOTH_ROADS

MIB = 1024 * 1024
UNAVAILABLE = {"error": "unavailable"}
CAMPAIGN = 5


def answer_of(key: str) -> dict[str, Any]:
    name = f"fleet_distributed_query_{CAMPAIGN}_1"
    return {"node_key": key, "queries": {name: [{"a": "1"}]}, "statuses": {name: 0}}


@asynccontextmanager
async def watching(house: House) -> AsyncIterator[None]:
    """Have the streams measured meanwhile."""
    task = asyncio.create_task(watch_streams.watch_streams(house.bus, house.gateway.admission.gates))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def fill(bus_for: BusFor, stream: str, share: float, limit: int) -> None:
    """Publish until the stream has so much of its limit."""
    bus = await bus_for("agent_gateway")
    subject = {LOGS: "logs.result.v1.0", ANSWERS_STREAM: "answers.campaign.v1.0", RESULTS: "results.detail.v1.0"}
    while (await bus.js.stream_info(stream)).state.bytes < share * limit:
        await bus.js.publish(subject[stream], b"x" * (limit // 50))


def is_full(house: House, stream: str) -> bool:
    return next(gate for gate in house.gateway.admission.gates if gate.stream == stream).is_full


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_streams, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(watch_streams, "OFTEN_SECONDS", 0.05)


@pytest.fixture
async def full_logs(house: House, limit_stream: LimitStream, bus_for: BusFor) -> AsyncIterator[House]:
    """A gateway that knows its stream of logs to be short of room; the stream itself would still take them."""
    await limit_stream(MIB)
    await fill(bus_for, LOGS, 0.955, MIB)
    async with watching(house):
        await eventually(lambda: is_full(house, LOGS))
        yield house


async def test_logs_are_refused_before_the_stream_refuses_them_and_nothing_of_them_is_kept(
    full_logs: House, bus_for: BusFor
) -> None:
    house = full_logs
    packed = gzip.compress(json.dumps(logs_of(house.inventory.add_host(), size=30 * MIB)).encode(), 1)
    before = (await (await bus_for("log_shipper")).js.stream_info(LOGS)).state.last_seq

    answers = [await most_held(house, packed, **{"Content-Encoding": "gzip"}), await most_held(house, b" " * MIB)]

    assert answers == [(UNAVAILABLE, 0)] * 2
    assert house.gateway.admission.refused == {("log", "full"): 2}
    assert house.gateway.counters.backend_operations == {}
    assert (await (await bus_for("log_shipper")).js.stream_info(LOGS)).state.last_seq == before


async def test_answers_are_taken_and_polls_answered_while_logs_are_refused(full_logs: House) -> None:
    house = full_logs
    key = house.inventory.add_host(1)
    await house.live_query.start(CAMPAIGN, [1])
    await eventually(lambda: house.gateway.campaigns.has_open(1))

    offered = await house.read(key)
    taken = (await house.post("distributed/write", answer_of(key))).json()

    assert "queries" in offered
    assert (taken, house.gateway.counters.answers) == ({}, {"open": 1})
    assert (await house.post("log", logs_of(key))).json() == UNAVAILABLE


async def test_logs_are_taken_again_once_the_stream_was_purged(full_logs: House, bus_for: BusFor) -> None:
    house = full_logs
    key = house.inventory.add_host()
    refused = (await house.post("log", logs_of(key))).json()

    with capture_logs() as logged:
        await (await bus_for("log_shipper")).js.purge_stream(LOGS)
        await eventually(lambda: not is_full(house, LOGS))

    assert [refused, (await house.post("log", logs_of(key))).json()] == [UNAVAILABLE, {}]
    assert [line["event"] for line in logged if line.get("stream") == LOGS] == ["stream has room again"]


async def test_posts_of_strangers_do_not_use_up_what_tries(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    key, circuit = house.inventory.add_host(), house.gateway.admission.logs.circuit
    circuit.failed(Refused("no room"), for_certain=True)
    assert (await house.post("log", logs_of(key))).json() == UNAVAILABLE

    clock = circuit._clock
    monkeypatch.setattr(circuit, "_clock", lambda: clock() + PROBE_SECONDS)
    strangers = [(await house.post("log", logs_of("nobody"))).json() for _ in range(3)]

    assert strangers == [{"error": "invalid_node_key", "node_invalid": True}] * 3
    assert (await house.post("log", logs_of(key))).json() == {}
    assert not circuit.is_open


async def test_a_refused_post_leaves_its_connection_to_the_next_request(full_logs: House) -> None:
    house, port = full_logs, choose_port()
    key = house.inventory.add_host()
    large = b"x" * (3 * MIB)
    asked = json.dumps({"node_key": key}).encode()

    async def served(task: asyncio.Task[None]) -> list[bytes]:
        await eventually(lambda: is_listening(port), timeout=30.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for path, body in (("log", large), ("log", large), ("distributed/read", asked)):
            writer.write(
                b"POST /api/osquery/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body))
            )
            writer.write(body)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            length = int(next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split(b":")[1])
            answers.append(await asyncio.wait_for(reader.readexactly(length), 20))
        writer.close()
        task.cancel()
        return answers

    serving = asyncio.create_task(listen_plain(house.door, "127.0.0.1", port))
    answers = await served(serving)
    await asyncio.gather(serving, return_exceptions=True)

    assert answers == [b'{"error":"unavailable"}'] * 2 + [b'{"queries":{}}']


async def test_writes_are_refused_unread_when_neither_of_their_streams_has_room(house: House) -> None:
    key = house.inventory.add_host()
    await house.read(key)
    house.gateway.admission.answers.measured(99, 100)
    only_one = (await house.post("distributed/write", {"node_key": key, "queries": {}})).json()
    house.gateway.admission.results.measured(99, 100)

    both = await house.post("distributed/write", b"what nobody reads")

    assert [only_one, both.json()] == [{}, UNAVAILABLE]
    assert house.gateway.admission.refused == {("write", "full"): 1}


async def test_an_answer_is_not_offered_to_a_stream_without_room(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.live_query.start(CAMPAIGN, [1])
    await eventually(lambda: house.gateway.campaigns.has_open(1))
    house.gateway.admission.answers.measured(99, 100)

    refused = (await house.post("distributed/write", answer_of(key))).json()
    house.gateway.admission.answers.measured(50, 100)
    taken = (await house.post("distributed/write", answer_of(key))).json()

    assert [refused, taken] == [UNAVAILABLE, {}]


async def test_without_a_connection_to_the_bus_logs_and_writes_are_not_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = house.inventory.add_host()
    await house.read(key)
    monkeypatch.setattr(house.gateway.admission, "_is_connected", lambda: False)

    answers = [(await house.post(path, b"what nobody reads")).json() for path in ("log", "distributed/write")]

    assert answers == [UNAVAILABLE] * 2
    assert await house.read(key) == {"queries": {}}


async def test_logs_wait_first_when_memory_is_short_then_writes_and_enrolls_last(house: House) -> None:
    memory = house.gateway.memory
    key = house.inventory.add_host()
    enrolling = {"enroll_secret": SECRET, "host_identifier": "A-1"}

    async def taken() -> list[bool]:
        replies = [
            await house.post("log", logs_of(key)),
            await house.post("distributed/write", {"node_key": key, "queries": {}}),
            await house.post("enroll", enrolling),
        ]
        return ["error" not in reply.json() for reply in replies]

    found = []
    for free in (bodies.LOG_LIMIT + MIB, bodies.LOG_LIMIT - 1, bodies.DISTRIBUTED_WRITE_LIMIT - 1, MIB - 1):
        memory.used = memory.limit - free
        found.append(await taken())
    memory.used = 0

    assert found == [[True, True, True], [False, True, True], [False, False, True], [False, False, False]]


async def test_while_inventory_is_down_strangers_get_an_error_and_hosts_that_are_known_are_served(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = house.inventory.add_host(1)
    assert await house.read(known) == {"queries": {}}
    house.inventory.down = True
    asked = len(house.inventory.resolves)

    strangers = [await house.read(f"stranger {number}") for number in range(50)]
    served = [(await house.post("log", logs_of(known))).json(), await house.read(known)]

    assert strangers == [UNAVAILABLE] * 50
    assert served == [{}, {"queries": {}}]
    assert len(house.inventory.resolves) - asked <= 5
    house.inventory.down = False
    newcomer = house.inventory.add_host(2)
    await eventually(lambda: _is_let_in(house, newcomer), timeout=20.0)


@pytest.mark.impatient
async def test_an_inventory_that_hangs_is_waited_for_by_few(house: House) -> None:
    known = house.inventory.add_host(1)
    assert await house.read(known) == {"queries": {}}
    house.inventory.hold = asyncio.Event()
    asked = len(house.inventory.resolves)
    first = await house.read("stranger")
    started = asyncio.get_running_loop().time()

    others = [await house.read(f"stranger {number}") for number in range(100)]

    assert [first, *others] == [UNAVAILABLE] * 101
    assert len(house.inventory.resolves) - asked <= 2 + asyncio.get_running_loop().time() - started
    assert await house.read(known) == {"queries": {}}
    house.inventory.hold.set()


async def _is_let_in(house: House, key: str) -> bool:
    return await house.read(key) == {"queries": {}}


async def test_enrolls_are_refused_unread_while_inventory_is_known_to_be_down(house: House) -> None:
    enrolling = {"enroll_secret": SECRET, "host_identifier": "A-1"}
    house.inventory.down = True
    refused = [(await house.post("enroll", enrolling)).json() for _ in range(3)]
    asked = len(house.inventory.enrolls)

    unread = (await house.post("enroll", b"what nobody reads")).json()
    by_orbit = (await house.orbit("enroll", b"what nobody reads")).json()

    assert [*refused, unread] == [UNAVAILABLE] * 4
    assert by_orbit["error"] == "unavailable"
    assert len(house.inventory.enrolls) == asked
    assert house.gateway.admission.refused == {("enroll", "inventory"): 2}
    house.inventory.down = False

    async def is_let_in() -> bool:
        return "node_key" in (await house.post("enroll", enrolling)).json()

    await eventually(is_let_in, timeout=20.0)


async def test_what_inventory_says_of_one_enroll_refuses_no_other_one(house: House) -> None:
    house.inventory.refusal = NotNow("osqueryd of this host has asked again since")
    copies = [
        (await house.post("enroll", {"enroll_secret": SECRET, "host_identifier": "A-1"})).json() for _ in range(5)
    ]
    house.inventory.refusal = None

    other = (await house.post("enroll", {"enroll_secret": SECRET, "host_identifier": "A-2"})).json()

    assert copies == [{"error": "not_now"}] * 5
    assert "node_key" in other


async def test_a_log_batch_above_the_cap_is_counted_each_time_and_mentioned_now_and_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_large() -> AsyncIterator[bytes]:
        for _ in range(bodies.LOG_LIMIT // MIB + 1):
            yield b" " * MIB

    with capture_logs() as logged:
        for _ in range(3):
            await house.client.post("/api/osquery/log", content=too_large())
        await house.post("config", b" " * (bodies.READ_LIMIT + 1))

    assert house.gateway.admission.too_large == {"log": 3, "config": 1}
    assert 1 <= len([line for line in logged if "above the cap" in line["event"]]) <= 2

"""Clients that are slow, silent or gone cost a gateway little, each for a while, and other hosts nothing.

A client that has vanished and one that is stopped look the same to the gateway as these here, which neither send nor
read; that one whose system does not even acknowledge is dropped no later is left to the kernel (TCP_USER_TIMEOUT).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from .conftest import Neighbours
from .gateway_processes import GatewayProcess, Make

PATH = "/api/v1/osquery/distributed/read"
KEEP_ALIVE_SECONDS = 3
BODY_SECONDS = 2.0
STUCK_SECONDS = 2.0
HANDSHAKE_SECONDS = 10.0  # granian's own
MARGIN_SECONDS = 8.0  # of a busy machine
BYTE_SECONDS = 0.5
SLOW_OF_EACH_KIND = 50
STUCK = 20
ANSWER_BYTES = 3_000_000
MIB = 1024 * 1024
IDLE = 15_000
IDLE_BYTES = 64 * 1024  # of the gateway's memory for a connection, with what its allocator keeps
OPEN_FILES_OF_OTHERS = 1500
KINDS = ("plain", "tls")
BODIES = (600, 200_000)  # one that is waited for in one piece, one that is read as it comes


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


TLS = trusting()


@dataclass
class Gate:
    """A running gateway with short patience, and a host that polls it all the time."""

    process: GatewayProcess
    key: str
    pid: int

    async def connect(self, kind: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.process.tls_port if kind == "tls" else self.process.plain_port
        return await asyncio.open_connection("127.0.0.1", port, ssl=TLS if kind == "tls" else None)

    def connect_raw(self, kind: str, *, source: str = "127.0.0.1", window_bytes: int = 0) -> socket.socket:
        """Connect a socket that blocks."""
        raw = socket.socket()
        raw.settimeout(30.0)
        if window_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        raw.bind((source, 0))
        raw.connect(("127.0.0.1", self.process.tls_port if kind == "tls" else self.process.plain_port))
        return TLS.wrap_socket(raw) if kind == "tls" else raw

    def request(self, path: str = PATH, *, length: int | None = None) -> bytes:
        body = json.dumps({"node_key": self.key}).encode()
        size = len(body) if length is None else length
        return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + body

    async def poll(self, kind: str) -> float:
        """Poll over a new connection, as stock osqueryd does; return how many seconds it took."""
        began = time.monotonic()
        reader, writer = await self.connect(kind)
        try:
            writer.write(self.request())
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(14) == b'{"queries":{}}', head
        finally:
            writer.close()
        return time.monotonic() - began

    async def polls(self, count: int) -> list[float]:
        return [await self.poll(KINDS[number % 2]) for number in range(count)]

    async def memory_bytes(self) -> int:
        """Return what of the process is in memory."""
        asked = await asyncio.create_subprocess_exec(
            "ps", "-o", "rss=", "-p", str(self.pid), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asked.communicate()
        return int(said) * 1024


@pytest.fixture
async def gate(make_gateway: Make, neighbours: Neighbours, request: pytest.FixtureRequest) -> Gate:
    """A gateway whose patience is short, or as the parameter says."""
    patience = {
        "keep_alive_seconds": KEEP_ALIVE_SECONDS,
        "body_seconds": BODY_SECONDS,
        "stuck_seconds": STUCK_SECONDS,
    }
    neighbours.merger.body = b'{"options":{"x":"%s"}}' % (b"x" * ANSWER_BYTES)
    process = await make_gateway(**getattr(request, "param", patience))
    service = await process.start()
    gate = Gate(process, neighbours.inventory.add_host(1), service.process.pid)
    await gate.polls(2)
    return gate


@dataclass
class Outcome:
    """How a connection ended: when, and what had come before."""

    seconds: float
    received: bytes


async def until_it_ends(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes, *, at_most: float
) -> Outcome:
    """Send a byte now and then, for as long as the connection lasts; say how it ended."""
    began, received = time.monotonic(), bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await reader.read(65536):
                received.extend(piece)

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            for number in range(len(drip)):
                writer.write(drip[number : number + 1])
                await writer.drain()
                await asyncio.sleep(BYTE_SECONDS)

    writing = asyncio.create_task(write())
    try:
        async with asyncio.timeout(at_most):
            await read()
    finally:
        writing.cancel()
        writer.close()
    return Outcome(time.monotonic() - began, bytes(received))


async def slow_head(gate: Gate, kind: str) -> Outcome:
    reader, writer = await gate.connect(kind)
    return await until_it_ends(reader, writer, gate.request(), at_most=KEEP_ALIVE_SECONDS + MARGIN_SECONDS)


async def slow_body(gate: Gate, kind: str, length: int) -> Outcome:
    reader, writer = await gate.connect(kind)
    writer.write(gate.request(length=length))
    return await until_it_ends(reader, writer, b" " * 60, at_most=BODY_SECONDS + MARGIN_SECONDS)


async def silent(gate: Gate, kind: str) -> Outcome:
    reader, writer = await gate.connect(kind)
    return await until_it_ends(reader, writer, b"", at_most=KEEP_ALIVE_SECONDS + MARGIN_SECONDS)


async def blank_lines(gate: Gate, kind: str) -> Outcome:
    reader, writer = await gate.connect(kind)
    return await until_it_ends(reader, writer, b"\r\n" * 60, at_most=KEEP_ALIVE_SECONDS + MARGIN_SECONDS)


async def half_open(gate: Gate, hello: bytes) -> Outcome:
    """Begin a handshake and never end it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.process.tls_port)
    writer.write(hello)
    return await until_it_ends(reader, writer, b"", at_most=HANDSHAKE_SECONDS + MARGIN_SECONDS)


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        TLS.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


@contextlib.asynccontextmanager
async def others(gate: Gate) -> AsyncIterator[list[float]]:
    """Have a host poll over new connections all the while; the list is how long each poll took."""
    took: list[float] = []

    async def go_on() -> None:
        while True:
            took.extend(await gate.polls(2))
            await asyncio.sleep(0.02)

    polling = asyncio.create_task(go_on())
    try:
        yield took
    finally:
        polling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await polling


def assert_as_quick(before: list[float], meanwhile: list[float]) -> None:
    """Polls take about as long as before: a bound that a busy machine keeps, and a blocked gateway does not."""
    assert len(meanwhile) >= 20
    assert statistics.median(meanwhile) <= 5 * statistics.median(before) + 0.02


async def test_slow_silent_and_half_open_clients_are_cut_off_and_others_are_served_meanwhile(gate: Gate) -> None:
    before, hello = await gate.polls(40), client_hello()
    many = range(SLOW_OF_EACH_KIND)
    async with others(gate) as meanwhile:
        outcomes = await asyncio.gather(
            *(
                asyncio.gather(*(act(gate, kind) for _ in many))
                for act in (slow_head, silent, blank_lines)
                for kind in KINDS
            ),
            *(asyncio.gather(*(slow_body(gate, kind, length) for _ in many)) for kind in KINDS for length in BODIES),
            *(asyncio.gather(*(half_open(gate, part) for _ in many)) for part in (b"", hello[:20], hello)),
        )

    unanswered, slow_bodies = outcomes[:6], outcomes[6:10]
    assert {outcome.received for kind in unanswered for outcome in kind} == {b""}
    for kind in slow_bodies:
        assert {outcome.received.partition(b"\r\n\r\n")[2] for outcome in kind} == {b'{"error":"body_too_slow"}'}
        assert all(outcome.received.startswith(b"HTTP/1.1 408 ") for outcome in kind)
    assert_as_quick(before, meanwhile)


def stuck(gate: Gate, kind: str) -> socket.socket:
    """Ask for a large config over a small window, and never read."""
    asking = gate.connect_raw(kind, window_bytes=8192)
    asking.sendall(gate.request("/api/v1/osquery/config"))
    return asking


def take_all(connection: socket.socket) -> int:
    """Read until the connection ends, however it does; return how many bytes had come."""
    size = 0
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65536):
            size += len(piece)
    return size


async def test_clients_that_never_read_their_answer_are_dropped_and_its_memory_with_them(gate: Gate) -> None:
    before = await gate.polls(40)
    sizes: list[int] = []
    memory: list[int] = []
    async with others(gate) as meanwhile:
        for _ in range(3):
            waiting = await asyncio.to_thread(lambda: [stuck(gate, KINDS[number % 2]) for number in range(STUCK)])
            await asyncio.sleep(max(KEEP_ALIVE_SECONDS, STUCK_SECONDS) + 2.0)
            memory.append(await gate.memory_bytes())
            sizes += await asyncio.to_thread(lambda found: [take_all(connection) for connection in found], waiting)
            for connection in waiting:
                connection.close()

    assert max(sizes) < ANSWER_BYTES
    assert memory[2] - memory[0] < STUCK * ANSWER_BYTES / 4
    assert_as_quick(before, meanwhile)


def endless(gate: Gate, kind: str, start: bytes, piece: bytes) -> int:
    """Send without end, as fast as it goes; return how much went before the connection was cut."""
    sent = 0
    with contextlib.closing(gate.connect_raw(kind)) as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(start)
        while sent < 64 * MIB:
            connection.sendall(piece)
            sent += len(piece)
    return sent


CHUNKED = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
WITHOUT_END = {
    "path": (b"POST /", b"x" * 65536),
    "header": (b"POST / HTTP/1.1\r\nX: ", b"x" * 65536),
    "headers": (b"POST / HTTP/1.1\r\n", b"X: y\r\n" * 10_000),
    "extension": (CHUNKED + b"1;", b"x" * 65536),
    "trailers": (CHUNKED + b"1\r\n{\r\n0\r\n", b"X: y\r\n" * 10_000),
    "blank lines": (b"", b"\r\n" * 30_000),
}


async def test_a_head_or_trailer_without_end_is_cut_off(gate: Gate) -> None:
    before = await gate.memory_bytes()

    sent = {
        (name, kind): await asyncio.to_thread(endless, gate, kind, *parts)
        for name, parts in WITHOUT_END.items()
        for kind in KINDS
    }

    assert {what: size for what, size in sent.items() if size >= 16 * MIB} == {}
    assert await gate.memory_bytes() - before < 16 * MIB


def idle_connections(gate: Gate, count: int) -> Iterator[socket.socket]:
    """Open connections, a third of them with TLS, poll once on each and leave it open."""
    for number in range(count):
        kind = "plain" if number % 3 else "tls"
        connection = gate.connect_raw(kind, source=f"127.0.0.{1 + number % 8}")  # more ports than one address has
        assert is_served(gate, connection)
        yield connection


@pytest.fixture
def open_files() -> Iterator[int]:
    """Allow this process as many open files as the system does; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("gate", [{"keep_alive_seconds": 300}], indirect=True)
async def test_fifteen_thousand_idle_connections_do_not_slow_others_down(gate: Gate, open_files: int) -> None:
    wanted = IDLE + OPEN_FILES_OF_OTHERS
    assert open_files >= wanted, f"a process may have {open_files} open files here: raise the hard limit to {wanted}"
    before, memory_before = await gate.polls(500), await gate.memory_bytes()
    opened: list[socket.socket] = []

    try:
        await asyncio.to_thread(lambda: opened.extend(idle_connections(gate, IDLE)))
        meanwhile, memory = await gate.polls(500), await gate.memory_bytes()
        still_served = await asyncio.to_thread(lambda: [is_served(gate, one) for one in opened[:: IDLE // 100]])
    finally:
        for connection in opened:
            connection.close()

    assert len(opened) == IDLE
    assert all(still_served)
    assert memory - memory_before < IDLE * IDLE_BYTES
    assert_as_quick(before, meanwhile)
    assert_as_quick(before, await gate.polls(100))


def is_served(gate: Gate, connection: socket.socket) -> bool:
    connection.sendall(gate.request())
    answer = b""
    while not answer.endswith(b'{"queries":{}}'):
        piece = connection.recv(4096)
        if not piece:
            return False
        answer += piece
    return True

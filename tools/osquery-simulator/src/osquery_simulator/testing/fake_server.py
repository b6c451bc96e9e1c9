"""A fake fleet server that answers what it is told and writes down what it was asked."""

import asyncio
import contextlib
import gzip
import itertools
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from osquery_simulator.clock import Clock
from osquery_simulator.signals import PATIENCE_SECONDS, Signal


@dataclass
class Asked:
    """One request as it came."""

    endpoint: str
    path: str
    headers: list[tuple[str, str]]
    raw: bytes
    connection: int
    request_on_connection: int
    time: float

    @property
    def text(self) -> str:
        """The body, unpacked."""
        packed = dict(self.headers).get("Content-Encoding") == "gzip"
        return (gzip.decompress(self.raw) if packed else self.raw).decode()

    @property
    def body(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)

    @property
    def key(self) -> str:
        """The kind of request: the endpoint, and for log posts the type of the lines."""
        return f"log:{self.body['log_type']}" if self.endpoint == "log" and self.raw else self.endpoint


@dataclass
class Seen:
    """One connection as the server saw it."""

    number: int
    tls_version: str | None
    is_resumed: bool
    alpn: str | None
    opened: float
    closed: float = float("inf")
    """In the hosts' time, as all of these."""
    endpoints: list[str] = field(default_factory=list)


@dataclass
class Reply:
    """What the fake answers."""

    body: str | bytes = "{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False
    """Close without an answer."""
    breaks_off: bool = False
    """Close in the middle of the body."""
    closes_early: bool = False
    """Close before the body of the request is read."""
    delay_seconds: float = 0.0
    """Wait so long in the hosts' time, or until the host has gone."""


Answer = Reply | str | dict[str, Any]


class FakeServer:
    """Scripted answers per endpoint, or per `log:result` and `log:status`; the last one of a list is repeated."""

    def __init__(self, tls: ssl.SSLContext | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.asked: list[Asked] = []
        self.connections: list[Seen] = []
        self.answers: dict[str, list[Answer]] = {}
        self.keys = 0
        self._tls = tls
        self._changed = Signal()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_connections(self) -> set[int]:
        """Numbers of the connections that nobody has closed yet."""
        return {seen.number for seen in self.connections if seen.closed == float("inf")}

    def of(self, endpoint: str) -> list[Asked]:
        """All requests to an endpoint so far."""
        return [asked for asked in self.asked if asked.endpoint == endpoint]

    def waits(self, endpoint: str) -> list[int]:
        """Whole seconds of the hosts between the requests to an endpoint."""
        return [round(later.time - earlier.time) for earlier, later in itertools.pairwise(self.of(endpoint))]

    def logs(self, kind: str = "result") -> list[Asked]:
        """All log posts of a kind so far."""
        return [asked for asked in self.of("log") if asked.body["log_type"] == kind]

    async def until(self, claim: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the claim holds."""
        await self._changed.until(claim, seconds)

    def _next(self, asked: Asked) -> Reply:
        queue = self.answers.get(asked.key) or self.answers.get(asked.endpoint, [])
        if not queue:
            if asked.endpoint == "enroll":
                self.keys += 1
                return Reply(json.dumps({"node_key": f"KEY-{self.keys}"}))
            return Reply()
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Reply):
            return answer
        return Reply(json.dumps(answer) if isinstance(answer, dict) else answer)

    def _closes_early(self, endpoint: str) -> bool:
        queue = self.answers.get(endpoint, [])
        if not queue or not isinstance(queue[0], Reply) or not queue[0].closes_early:
            return False
        del queue[0]
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        seen = self._see(writer)
        try:
            with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
                while await self._one(reader, writer, seen):
                    continue
        finally:
            seen.closed = self.clock.now()
            self._tasks.discard(task)
            writer.transport.abort()
            self._changed.fire()

    def _see(self, writer: asyncio.StreamWriter) -> Seen:
        tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        facts = (tls.version(), bool(tls.session_reused), tls.selected_alpn_protocol()) if tls else (None, False, None)
        self.connections.append(Seen(len(self.connections) + 1, *facts, self.clock.now()))
        return self.connections[-1]

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split(" ")[1]
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = [(name, value) for name, value in pairs]
        endpoint = path.removeprefix("/api/v1/osquery/")
        is_early = self._closes_early(endpoint)
        raw = b"" if is_early else await reader.readexactly(int(dict(headers)["Content-Length"]))
        seen.endpoints.append(endpoint)
        asked = Asked(endpoint, path, headers, raw, seen.number, len(seen.endpoints), self.clock.now())
        self.asked.append(asked)
        self._changed.fire()
        return await self._reply(reader, writer, Reply(closes=True) if is_early else self._next(asked))

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        if reply.delay_seconds:
            await self._wait(reader, reply.delay_seconds)
        if reply.closes:
            return False
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        cut = body[: len(body) // 2] if reply.breaks_off else body
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode() + cut)
        await writer.drain()
        return not reply.breaks_off and headers.get("Connection") != "close"

    async def _wait(self, reader: asyncio.StreamReader, seconds: float) -> None:
        """Wait, but not for a host that has gone."""
        gone = asyncio.Event()
        watching = asyncio.create_task(reader.read())
        watching.add_done_callback(lambda _: gone.set())
        with self.clock.idle():
            await self.clock.wait(gone, seconds)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

"""A real HTTP/1.1 server on 127.0.0.1 that stands in for services we do not run, and for networks that fail.

What it answers is up to a test: `Standin` is the base of the stand-ins of webhook receivers, Splunk and Elasticsearch.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.contracts.logs import Segment
from log_shipper.sinks import Batch, Chunk, Progress, kind_of

from ..conftest import QUICK, WatchedSink, balanced

FIRST = datetime(2026, 11, 24, 5, 59, 59, tzinfo=UTC)
RECEIVED_MS = 1_763_959_000_123


@dataclass(frozen=True)
class Asked:
    """A request; `body` is unpacked, `raw` as it came."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> bytes:
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, document: Any, **headers: str) -> Answer:
        return cls(status, json.dumps(document).encode(), headers)


DROPPED = "the connection is cut before the request is looked at"
LOST = "the request is done, and the connection is cut before the answer"
SILENT = "the request is done, and no answer comes"
Fault = str


class Standin(ABC):
    """Answers requests; `faults` come first, one a request (None: no fault)."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Answer | Fault | None] = []
        self.always: Answer | None = None
        self.came = asyncio.Event()
        self.connections = 0

    @abstractmethod
    def answer(self, asked: Asked) -> Answer:
        """Do what the service does."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (asked := await _read(reader)) is not None:
                if not await self._reply(asked, writer):
                    return
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _reply(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        self.asked.append(asked)
        self.came.set()
        fault = self.always or (self.faults.pop(0) if self.faults else None)
        if fault == DROPPED:
            writer.transport.abort()
            return False
        answer = fault if isinstance(fault, Answer) else self.answer(asked)
        if fault == LOST:
            writer.transport.abort()
            return False
        if fault == SILENT:
            await asyncio.get_running_loop().create_future()
        heads = {"content-length": str(len(answer.body)), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in heads.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(first.split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def serving(standin: Standin, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[str]:
    """Serve, and give the URL."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(standin.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def batch_of(lines: Sequence[bytes], progress: Progress | None = None, **changes: Any) -> Batch:
    """A batch of these lines, two messages if there are enough."""
    half = len(lines) // 2
    chunks = []
    for sequence, part in enumerate((lines[:half], lines[half:]), 7):
        body = b"".join(line + b"\n" for line in part)
        segment = Segment(host_id=40 + sequence, team_id=3, received_ms=RECEIVED_MS, lines=len(part), bytes=len(body))
        if part:
            chunks.append(Chunk(sequence, "result", len(part), body, [segment]))
    given = {"fence": (1, 5), "first_sequence": 7, "last_sequence": 8, "started_at": FIRST} | changes
    return Batch(chunks=chunks, progress=progress or Progress(), **given)


def numbered(count: int) -> list[bytes]:
    return [b'{"number":%d}' % number for number in range(count)]


def outcome(batch: Batch) -> tuple[int, int, int]:
    """How many lines are accepted, refused, and there twice for all that anybody knows."""
    progress = batch.progress
    refused = len(progress.refusals)
    return len(progress.accepted) - refused, refused, len(progress.repeated)


def destination(kind: str, settings: dict[str, Any]) -> WatchedSink:
    """A destination for `shipping`, which cuts batches at once."""
    sink = WatchedSink(kind_of(kind).open(settings), name=kind)
    sink.spec = Destination(name=kind, kind="file", retry=QUICK, batch={"seconds": 0.05})
    return sink


async def books(deps: Any, name: str) -> tuple[int, int, int, int]:
    """Delivered, dead-lettered, pending, duplicates."""
    entry = (await balanced(deps)).get((name, "result"))
    return (entry.delivered, entry.dead_lettered, entry.pending, entry.duplicates) if entry else (0, 0, 0, 0)


HOSTILE = [
    b'{"name":"bad utf-8 \xff\xfe"}',
    b'{"name":"a NUL \x00"}',
    b"not JSON at all",
    b'{"name":"no end',
    b"[" * 5000 + b"]" * 5000,
    b'{"name":' * 3000 + b"1" + b"}" * 3000,
    b'{"name":"escaped \\u0000 \\ud800"}',
    b"null",
    b'["a","list"]',
    b'{"name":"' + b"x" * 5_000_000 + b'"}',
]
"""Lines that hosts should not send."""

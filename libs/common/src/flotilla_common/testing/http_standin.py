"""A real HTTP/1.1 server on 127.0.0.1 that stands in for services we do not run, and for networks that fail.

What it answers is up to a test: `Standin` is the base of the stand-ins of webhook receivers, Splunk and Elasticsearch.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request; `body` is unpacked, `raw` as it came."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> bytes:
        """The bytes without compression."""
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, document: Any, **headers: str) -> Answer:
        """Return an answer with a JSON document."""
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
        """Answer the requests of a connection."""
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

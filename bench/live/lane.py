"""A kept plain connection to a gateway, as behind a balancer, whose hosts wait for one another: no task, no stream."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol, Self, cast

from bench.bodies import NOTHING
from bench.door.place import PREFIX
from bench.live.kept import names_in
from bench.load_client import KEPT_AGENT, LoadFailed

HEAD = f"POST {PREFIX}%s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {KEPT_AGENT}\r\nContent-Length: %d\r\n\r\n"
NOTHING_TO_DO = NOTHING.encode()
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Sender(Protocol):
    """What the hosts send."""

    def poll(self, number: int, due: float) -> bytes:
        """Return a host's poll, which was due at a monotonic time and is sent now."""

    def answer(self, number: int, names: Sequence[str]) -> bytes:
        """Return what a host answers to these queries."""


def request(path: str, body: bytes) -> bytes:
    """Return a request as it is sent."""
    return (HEAD % (path, len(body))).encode() + body


class Lane(asyncio.Protocol):
    """Sends one request at a time. `ended` is done when the connection is, with LoadFailed if nobody closed it."""

    def __init__(self, port: int, sender: Sender) -> None:
        self.port = port
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sender = sender
        self._waiting: deque[tuple[int, float]] = deque()
        self._number: int | None = None  # the host that waits for an answer
        self._writes = False
        self._since = 0.0
        self._received = b""

    @classmethod
    async def connect(cls, port: int, sender: Sender) -> Self:
        """Return one that is connected."""
        _, lane = await asyncio.get_running_loop().create_connection(lambda: cls(port, sender), "127.0.0.1", port)
        return lane

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._fail(f"the connection ended: {exc!r}")

    def close(self) -> None:
        """Close the connection."""
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.abort()

    def busy_seconds(self) -> float:
        """Return how long a host has been waiting for an answer."""
        return 0.0 if self._number is None else time.monotonic() - self._since

    def poll(self, number: int, due: float) -> None:
        """Have a host poll as soon as those before it are done."""
        self._waiting.append((number, due))
        self._next()

    def _next(self) -> None:
        if self._number is None and self._waiting:
            number, due = self._waiting.popleft()
            self._send(number, self._sender.poll(number, due), writes=False)

    def _send(self, number: int, text: bytes, *, writes: bool) -> None:
        self._number, self._writes, self._since = number, writes, time.monotonic()
        self._transport.write(text)

    def data_received(self, data: bytes) -> None:
        """Take what came of an answer."""
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = _LENGTH.search(head)
        if length is None or not head.startswith(b"HTTP/1.1 200 ") or self._number is None:
            self._fail(f"{head[:300]!r}")
        elif len(body) >= int(length[1]):
            self._received = b""
            try:
                self._answered(self._number, body)
            except LoadFailed as error:
                self._fail(str(error))

    def _answered(self, number: int, body: bytes) -> None:
        names = [] if self._writes or body == NOTHING_TO_DO else names_in(body)
        if names:
            self._send(number, self._sender.answer(number, names), writes=True)
        else:
            self._number = None
            self._next()

    def _fail(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(LoadFailed(f"port {self.port}: {reason}"))

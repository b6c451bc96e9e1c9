"""The door in granian's own terms (RSGI), for the TLS port.

ASGI costs a request here a scope of twenty objects and a hop between threads for each message. A usual poll needs its
path, three headers and its body; whatever is not usual is told to the door as ASGI has it.

Of RSGI (granian 2.8): a header's value that is not ASCII is not shown, a request that ends without an answer gets a 500
without a body, and of a path only what its escapes stand for is told. The iteration over a body gives an empty piece
before it ends, another for an error (one that breaks off, or is cut into no chunks) and for trailers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flotilla_common.http.asgi import Message
from flotilla_common.http.asgi import Scope as AsgiScope
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope  # type: ignore[attr-defined]  # they are its API

from agent_gateway.asgi import NOT_FROM_MEMORY, WholeAnswer
from agent_gateway.domain.roads import ALL_ROADS, Road
from agent_gateway.domain.surfaces import Headers
from agent_gateway.errors import BodyBrokenOff, BodyTooSlow
from agent_gateway.gathering import LONGEST_SECONDS, Gathering
from agent_gateway.last_resort import last_resort, refused

if TYPE_CHECKING:
    from agent_gateway.domain.gateway import Gateway
    from agent_gateway.routes.door import Door

WHOLE_BYTES = 64 * 1024  # a body of that much is waited for in one piece, and in nobody's count of memory until then
WAITED_BYTES = 64 * 1024 * 1024  # of all such bodies; with more on their way they are taken piece by piece, and counted
TOLD = ("user-agent", "authorization", "content-encoding")


class GranianDoor:
    """What granian calls for each request."""

    def __init__(self, door: Door, gather_seconds: float = LONGEST_SECONDS) -> None:
        """Take the door, and how long requests may be waited for at most that gather."""
        self._door = door
        self._waited = Waited()
        self._gathering = Gathering(gather_seconds, sleep=self._pause)
        self._flows = self._gathering.flows

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        door = self._door
        exchange = Exchange(scope, protocol, self._waited, self._flows)
        door.enter()
        try:
            if exchange.hides_who_it_is:
                self._count("malformed_header")
                exchange.write(*refused(scope.path, 400, "malformed_header"))
                return
            road = ALL_ROADS.get(scope.path) if scope.method == "POST" else None
            if road is None or not exchange.comes_whole or not await self._is_answered(exchange, road):
                await door.handle(exchange.asgi_scope(), exchange.receive, exchange.send)
        finally:
            try:
                if not exchange.is_written:  # granian's own answer has no body, which osqueryd takes for a success
                    self._count("internal")
                    exchange.write(*last_resort(scope.path))
            finally:
                door.leave()

    def _pause(self, seconds: float) -> None:
        if self._door.gateway is not None:
            counters = self._door.gateway.counters
            counters.pauses += 1
            counters.paused_seconds += seconds
        time.sleep(seconds)

    def _count(self, code: str) -> None:
        if self._door.gateway is not None:
            self._door.gateway.counters.failures[code] += 1

    async def _is_answered(self, exchange: Exchange, road: Road) -> bool:
        """Answer if it is a usual request; False: nothing has been done, but that the body was read."""
        door = self._door
        body = None if door.gateway is None else await exchange.whole_body(door.gateway)
        if body is None:
            return False
        if road.begin is not None:
            return await self._is_begun(exchange, road, body)
        found = door.at_once(road, exchange.told(), body, is_tls=True)
        if found is None:
            return False
        exchange.write(200, found[1], found[0])
        self._gathering.came()
        return True

    async def _is_begun(self, exchange: Exchange, road: Road, body: bytes) -> bool:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answer(status: int, headers: Headers, body: bytes) -> None:
            try:
                exchange.write(status, headers, body)
            finally:
                if not answered.done():
                    answered.set_result(None)

        if not self._door.begin(road, exchange.told(), body, answer, is_tls=True):
            return False
        self._gathering.came()
        await answered
        return True


@dataclass
class Waited:
    """How much is waited for that is in nobody's count of memory yet."""

    bytes: int = 0


class Exchange(WholeAnswer):
    """One request and its answer, told in ASGI's words where that is wanted.

    It must be in no circle of references: what granian holds of a refused body, and so the connection, goes with it.
    """

    __slots__ = (
        *(
            "_empties",
            "_first",
            "_flows",
            "_is_late",
            "_is_over",
            "_length",
            "_pieces",
            "_protocol",
            "_received",
            "_scope",
            "_waited",
        ),
        "is_written",
    )

    def __init__(self, scope: Scope, protocol: HTTPProtocol, waited: Waited, flows: Callable[[], None]) -> None:
        """Take RSGI's request, the count that all share, and what is told while a body comes in pieces."""
        super().__init__()
        self._scope, self._protocol, self._waited, self._flows = scope, protocol, waited, flows
        length = scope.headers.get("content-length")
        if length is None and "transfer-encoding" not in scope.headers:
            length = 0
        self._length = None if length is None else int(length)
        self._pieces: AsyncIterator[bytes] | None = None
        self._received = self._empties = 0
        self._first: Message | None = None
        self._is_late = False
        self._is_over = False
        self.is_written = False

    @property
    def hides_who_it_is(self) -> bool:
        """Whether a header is there, of those that tell it, whose value granian does not show.

        One value that is shown hides others of that name, of which nothing tells: behind a proxy that adds the address
        it saw to the last of several lines, a client can hide it. Proxies usually join all, or add a line of their own.
        """
        headers = self._scope.headers
        return (headers.get("authorization") is None and "authorization" in headers) or (
            headers.get("x-forwarded-for") is None and "x-forwarded-for" in headers
        )

    @property
    def comes_whole(self) -> bool:
        """Whether the body is small, and of known length, and not too many others are waited for."""
        return (
            self._length is not None
            and self._length <= WHOLE_BYTES
            and self._pieces is None
            and self._waited.bytes + self._length <= WAITED_BYTES
        )

    async def whole_body(self, gateway: Gateway) -> bytes | None:
        """Wait for the body. None: it has not come, and why is told by `receive`."""
        waiter = gateway.slow_bodies.begin()
        try:
            message = self._first = await self._whole()
        except asyncio.CancelledError:
            try:
                gateway.slow_bodies.raise_if_late(waiter, BodyTooSlow)
            except BodyTooSlow:
                self._is_late = True
                return None
            raise
        finally:
            gateway.slow_bodies.end(waiter)
        return message.get("body")

    def told(self) -> Headers:
        """Return the headers that tell how a usual request is answered."""
        get = self._scope.headers.get
        return [(name.encode(), value.encode()) for name in TOLD if (value := get(name)) is not None]

    def asgi_scope(self) -> AsgiScope:
        """Return the request's head as ASGI has it."""
        scope = self._scope
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.0" if scope.http_version == "1" else scope.http_version,
            "server": _address(scope.server),
            "client": _address(scope.client),
            "scheme": "https",
            "root_path": "",
            "method": scope.method,
            "path": scope.path,
            "raw_path": scope.path.encode(),
            "query_string": scope.query_string.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in scope.headers.items()],
            "state": {},
            "extensions": {} if self._first is None else {NOT_FROM_MEMORY: {}},
        }

    async def receive(self) -> Message:
        """Return the next piece of the body, or that the client is gone.

        Raises:
            BodyTooSlow: what was waited for before did not come in time.
            BodyBrokenOff: its chunks did not come to their end, or trailers did behind them, which no agent sends.

        """
        if self._is_late:
            raise BodyTooSlow
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._is_over:
            if not self.is_complete:
                await self._protocol.client_disconnect()
            return {"type": "http.disconnect"}
        return await (self._whole() if self.comes_whole else self._piece())

    def write(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer, unless that is done: a post that is let down at the end of the process may still come to its end."""
        if self.is_written:
            return
        texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        self._protocol.response_bytes(status, texts, body)
        self.is_written = True

    async def _whole(self) -> Message:
        self._is_over = True
        length = self._length or 0
        self._waited.bytes += length
        try:
            body = await self._protocol()
        except ProtocolClosed:
            return {"type": "http.disconnect"}
        finally:
            self._waited.bytes -= length
        return {"type": "http.request", "body": body, "more_body": False}

    async def _piece(self) -> Message:
        if self._pieces is None:
            self._pieces = aiter(self._protocol)
        try:
            piece = await self._pieces.__anext__()  # anext(it, None) ends the process: segmentation fault
        except StopAsyncIteration:
            self._is_over = True
            if self._length is not None:  # broken off
                return {"type": "http.disconnect"}
            if self._empties > 1:
                raise BodyBrokenOff from None
            return {"type": "http.request", "body": b"", "more_body": False}
        self._received += len(piece)
        self._empties += not piece
        self._is_over = self._received == self._length
        if not self._is_over:
            self._flows()
        return {"type": "http.request", "body": piece, "more_body": not self._is_over}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)

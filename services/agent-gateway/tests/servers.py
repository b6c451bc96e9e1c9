"""Both servers without a socket: a client whose requests go to what uvicorn and granian call, as these would call it.

`http` goes to the plain port's protocol, byte for byte; `https` to the TLS port's adapter, in the objects of RSGI. So
a request that has come whole is answered as it is in production, by the shortcuts first. Each has its own connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httptools
import httpx2
import uvicorn
from agent_gateway.granian_door import GranianDoor
from agent_gateway.routes.door import Door
from agent_gateway.shortcut import ShortcutProtocol
from granian.rsgi import ProtocolClosed
from uvicorn.server import ServerState

READ_BYTES = 64 * 1024  # what a server finds at most when it looks
CLIENT, SERVER = ("127.0.0.1", 123), ("127.0.0.1", 443)


class Servers(httpx2.AsyncBaseTransport):
    """A transport to one door."""

    def __init__(self, door: Door) -> None:
        options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "server_header": False}
        self._config = uvicorn.Config(door, ws="none", proxy_headers=False, **options)  # type: ignore[arg-type]
        self._state = ServerState()
        self._granian_door = GranianDoor(door)
        self._running: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and wait for its answer.

        Raises:
            httpx2.RemoteProtocolError: the connection was closed without one.

        """
        if request.url.scheme == "http":
            return await Wire(ShortcutProtocol(self._config, self._state, {}), request).answer()
        exchange = Rsgi(request)
        running = asyncio.create_task(self._granian_door.__rsgi__(exchange, exchange))  # type: ignore[arg-type]
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await exchange.answer(running)


async def pieces_of(request: httpx2.Request) -> AsyncIterator[bytes]:
    """Give a body in pieces as a server finds them."""
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    async for piece in request.stream:
        for at in range(0, len(piece), READ_BYTES):
            yield piece[at : at + READ_BYTES]


class Wire(asyncio.Transport):
    """A connection to the plain port that carries one request."""

    def __init__(self, protocol: ShortcutProtocol, request: httpx2.Request) -> None:
        super().__init__({"peername": CLIENT, "sockname": SERVER})
        self._protocol, self._request = protocol, request
        self._parser = httptools.HttpResponseParser(self)
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""
        self._is_closing = False

    async def answer(self) -> httpx2.Response:
        self._protocol.connection_made(self)
        sending = asyncio.create_task(self._send())
        sending.add_done_callback(self._has_sent)
        try:
            await self._answered
        finally:
            sending.cancel()
            self.close()
        # What httpx2 decodes by its own account is none of ours, and a length that it counts itself is not what came.
        return httpx2.Response(self._parser.get_status_code(), headers=self._headers, stream=Whole(self._body))

    async def _send(self) -> None:
        request, is_chunked = self._request, "transfer-encoding" in self._request.headers
        lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
        lines += [name + b": " + value for name, value in request.headers.raw]
        self._protocol.data_received(b"\r\n".join(lines) + b"\r\n\r\n")
        async for piece in pieces_of(request):
            await self._may_read.wait()
            self._protocol.data_received(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
            await asyncio.sleep(0)
        if is_chunked:
            self._protocol.data_received(b"0\r\n\r\n")

    def _has_sent(self, sending: asyncio.Task[None]) -> None:
        if not sending.cancelled() and sending.exception() is not None and not self._answered.done():
            self._answered.set_exception(sending.exception())  # type: ignore[arg-type]

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._request.method == "HEAD":
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)

    def write(self, data: Any) -> None:
        if not self._answered.done():
            self._parser.feed_data(data)

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
        if not self._answered.done():
            self._answered.set_exception(httpx2.RemoteProtocolError("closed without an answer"))

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()


class Whole(httpx2.AsyncByteStream):
    """A body that is here."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


class ShownHeaders:
    """A request's headers as granian (2.8) shows them: none whose value is not ASCII, but that it is there."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._names = {name.decode().lower() for name, _ in raw}
        self._shown = [(name.decode().lower(), value.decode()) for name, value in raw if value.isascii()]

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def get(self, name: str, default: Any = None) -> Any:
        return next((value for shown, value in self._shown if shown == name), default)

    def items(self) -> Iterator[tuple[str, str]]:
        return iter(self._shown)


class Rsgi:
    """One request of the TLS port: granian's scope and protocol."""

    proto, http_version, scheme = "http", "1.1", "https"
    client, server = (f"{host}:{port}" for host, port in (CLIENT, SERVER))

    def __init__(self, request: httpx2.Request) -> None:
        self.method, self.path = request.method, request.url.path
        self.query_string = request.url.query.decode()
        self.headers = ShownHeaders(request.headers.raw)
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._is_gone = asyncio.Event()
        self._sending = asyncio.create_task(self._send(request))
        self._answered: asyncio.Future[httpx2.Response] = asyncio.get_running_loop().create_future()

    async def answer(self, running: asyncio.Task[None]) -> httpx2.Response:
        """Wait for the answer. The adapter runs on when the client leaves: granian cancels nothing."""
        running.add_done_callback(self._has_ended)
        self._sending.add_done_callback(self._has_ended)
        try:
            return await self._answered
        finally:
            self._is_gone.set()
            self._sending.cancel()

    async def _send(self, request: httpx2.Request) -> None:
        async for piece in pieces_of(request):
            await self._pieces.put(piece)
        await self._pieces.put(None)

    def _has_ended(self, ended: asyncio.Task[None]) -> None:
        if ended.cancelled() or self._answered.done():
            return
        if ended.exception() is not None:
            self._answered.set_exception(ended.exception())  # type: ignore[arg-type]
        elif ended is not self._sending:
            self._answered.set_exception(httpx2.RemoteProtocolError("ended without an answer"))

    async def __call__(self) -> bytes:
        pieces = []
        while (piece := await self._next()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces, then an empty one, as granian does; two where the client has left."""
        try:
            while (piece := await self._next()) is not None:
                yield piece
        except ProtocolClosed:
            yield b""
        yield b""

    async def _next(self) -> bytes | None:
        gone, next_one = (asyncio.create_task(wait) for wait in (self._is_gone.wait(), self._pieces.get()))
        try:
            await asyncio.wait([gone, next_one], return_when=asyncio.FIRST_COMPLETED)
            if next_one.done():
                return next_one.result()
            raise ProtocolClosed
        finally:
            gone.cancel()
            next_one.cancel()

    async def client_disconnect(self) -> None:
        await self._is_gone.wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # the client is gone
            stream = Whole(b"" if self.method == "HEAD" else body)
            self._answered.set_result(httpx2.Response(status, headers=headers, stream=stream))

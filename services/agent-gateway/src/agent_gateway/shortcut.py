"""The plain port's shortcut for what hosts ask all day, where a request has come whole.

Behind a balancer a request costs next to no handshake, so what the server does around it is most of its price. A usual
poll is answered from memory before there is a task or a scope, and a usual post is when its custody is known, without
a task that waits for it. uvicorn's parser and the rest of its protocol stay: whatever is not usual goes the whole way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flotilla_common.http.asgi import App, Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from agent_gateway.asgi import NOT_FROM_MEMORY, WholeAnswer
from agent_gateway.domain.roads import ALL_ROADS, Road
from agent_gateway.domain.surfaces import CLOSE, Headers
from agent_gateway.slow_clients import PunctualProtocol

if TYPE_CHECKING:
    from agent_gateway.routes.door import Door

HELD_BYTES = 64 * 1024  # of a body; as much as uvicorn itself holds before somebody counts it
HOLD_SECONDS = 0.05
ROADS = {path.encode(): (path, road) for path, road in ALL_ROADS.items()}


class DefaultLines:
    """The lines of uvicorn's own headers, which it makes anew once a second: joined as often, not for each answer."""

    def __init__(self) -> None:
        self._headers: Headers = []
        self._lines = b""

    def lines_of(self, headers: Headers) -> bytes:
        """Return the lines of these headers."""
        if headers is not self._headers:
            self._headers, self._lines = headers, b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._lines


_DEFAULT = DefaultLines()


class Exchange(WholeAnswer):
    """One whole request and its answer; has of uvicorn's cycle what its protocol looks at."""

    more_body = False

    def __init__(self, protocol: ShortcutProtocol, scope: Scope, body: bytes, *, keep_alive: bool) -> None:
        super().__init__()
        self._protocol, self._scope, self._body, self.keep_alive = protocol, scope, body, keep_alive
        self._is_read = self.disconnected = False
        self.message_event = asyncio.Event()  # set by uvicorn when the client is gone

    @property
    def response_complete(self) -> bool:
        """Whether it has been answered."""
        return self.is_complete

    async def run(self, app: App) -> None:
        """Have it answered. Who answers nothing, which would be a bug, has the connection closed."""
        try:
            await app(self._scope, self._receive, self.send)
        finally:
            if not self.response_complete:
                self._protocol.transport.close()

    async def _receive(self) -> Message:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        if not self.response_complete:
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    def write(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer, unless the client is gone."""
        self.message_event.set()
        if not self.disconnected:
            self._protocol.write(status, headers, body, keep_alive=self.keep_alive)


class BegunPost:
    """A post that is answered later; has of uvicorn's cycle what its protocol looks at."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "response_complete")

    message_event = asyncio.Event()  # set when the client is gone; nobody waits for it
    more_body = False

    def __init__(self, protocol: ShortcutProtocol, *, keep_alive: bool) -> None:
        self._protocol, self.keep_alive = protocol, keep_alive
        self.response_complete = self.disconnected = False

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer, unless the client is gone."""
        self.response_complete = True
        self._protocol.app.leave()
        if not self.disconnected:
            self._protocol.write(status, headers, body, keep_alive=self.keep_alive)


class ShortcutProtocol(PunctualProtocol):
    """uvicorn's protocol; a request is held back between its head and its end for as long as it may be answered so."""

    app: Door
    _held: tuple[str, Road, Headers] | None = None
    _pieces: list[bytes]
    _size = 0
    _hold: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take the next bytes. A body that does not come soon goes the whole way, where slow ones are timed."""
        super().data_received(data)
        if self._held is None:
            return
        if self._size > HELD_BYTES:
            self._let_go()
        elif self._hold is None:
            self._hold = self.loop.call_later(HOLD_SECONDS, self._let_go)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was held."""
        self._release()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Stop; a request that has begun to come is one that is waited for."""
        self._let_go()
        super().shutdown()

    def on_message_begin(self) -> None:
        """Start a request; its scope is made when it is needed."""
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Hold the request back when it may be a usual one."""
        road = ROADS.get(self.url)
        if road is not None and self._is_usual():
            self._held, self._pieces, self._size = (*road, self.headers), [], 0
            self._waiting_since, self._beside_body = None, 0
            self.headers = []  # for trailers
        else:
            self._go_the_whole_way(self.headers)

    def on_body(self, body: bytes) -> None:
        """Keep a piece."""
        if self._held is None:
            super().on_body(body)
        else:
            self._pieces.append(body)
            self._size += len(body)
            self._beside_body = 0

    def on_message_complete(self) -> None:
        """Answer at once if it can be."""
        if self._held is None:
            super().on_message_complete()
            return
        (path, road, headers), body = self._held, b"".join(self._pieces)
        self._release()
        keep_alive = self.parser.should_keep_alive()
        if road.from_memory is not None:
            found = self.app.at_once(road, headers, body, is_tls=False)
            if found is not None:
                self.write(200, found[1], found[0], keep_alive=keep_alive)
                return
        elif road.begin is not None:
            begun = BegunPost(self, keep_alive=keep_alive)
            before, self.cycle = self.cycle, begun  # type: ignore[assignment]  # uvicorn looks at what it has
            self.app.enter()
            if self.app.begin(road, headers, body, begun.answer, is_tls=False):
                return
            self.app.leave()
            self.cycle = before
        self._exchange(path, headers, body, keep_alive=keep_alive)

    def _is_usual(self) -> bool:
        """Whether it is a POST, nothing is asked of the server first, and all before it has been answered and taken."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _release(self) -> None:
        """Hold nothing back any more."""
        self._held, self._pieces = None, []
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _let_go(self) -> None:
        """Do what was held back, if it still is."""
        if self._held is not None:
            headers, body = self._held[2], b"".join(self._pieces)
            self._release()
            self._go_the_whole_way(headers)
            if body:
                super().on_body(body)

    def _go_the_whole_way(self, headers: Headers) -> None:
        """Make the scope, then go on as uvicorn."""
        url, expect_100_continue = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers += headers
        super().on_headers_complete()

    def _exchange(self, path: str, headers: Headers, body: bytes, *, keep_alive: bool) -> None:
        scope: Scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "method": "POST",
            "path": path,
            "raw_path": self.url,
            "query_string": b"",
            "headers": headers,
            "state": {},
            "extensions": {NOT_FROM_MEMORY: {}},
        }
        exchange = Exchange(self, scope, body, keep_alive=keep_alive)
        self.cycle = exchange  # type: ignore[assignment]  # uvicorn looks at what it has
        task = self.loop.create_task(exchange.run(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def write(self, status: int, headers: Headers, body: bytes, *, keep_alive: bool) -> None:
        """Write an answer as uvicorn would, but in one piece; nothing where the connection is closing."""
        if self.transport.is_closing():
            return
        lines = [STATUS_LINE[status], _DEFAULT.lines_of(self.server_state.default_headers)]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        closes = CLOSE in headers
        if not closes and not keep_alive:
            closes = True
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", body)
        self.transport.write(b"".join(lines))
        self._waiting_since = self.loop.time()  # also where it closes: until the answer is taken
        if closes:
            self.transport.close()
        if self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1

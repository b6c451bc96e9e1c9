"""The outermost layer: hot road or ordinary routes, an answer when all else fails, and how many are inside."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from flotilla_common.http.asgi import App, Message, Receive, Scope, Send
from starlette.requests import ClientDisconnect

from agent_gateway.asgi import Answerer, send_json
from agent_gateway.domain.clients import never_reuses
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.roads import Road
from agent_gateway.domain.surfaces import Headers, surface_of, without_token
from agent_gateway.last_resort import last_resort
from agent_gateway.refusals import LAST_RESORT

log = structlog.get_logger()


class Hot(Protocol):
    """The hot road, which is laid before the routes and knows nothing of them."""

    @property
    def gateway(self) -> Gateway:
        """The gateway that answers."""

    def road_of(self, scope: Scope) -> Road | None:
        """Return the road of a request that may be answered there."""

    async def answer(self, road: Road, scope: Scope, receive: Receive, send: Send, *, is_own: bool) -> None:
        """Answer one request; what is raised was answered already. `is_own`: the connection is the host's own."""

    def at_once(self, road: Road, headers: Headers, body: bytes, *, is_own: bool) -> tuple[bytes, Headers] | None:
        """Return the usual answer's body and headers; None: it must go the whole way."""

    def begin(self, road: Road, headers: Headers, body: bytes, answerer: Answerer, *, is_own: bool) -> bool:
        """Take a usual post, which is answered later; False: it must go the whole way."""


class Door:
    """Wraps the application for both listeners. Without a hot road everything goes to the application.

    `plain_is_shared`: connections without TLS are a balancer's, which sends many hosts' requests over each. Only the
    host's own connection is ended for a host: a balancer's serves others after it.
    """

    def __init__(self, app: App, hot: Hot | None = None, *, plain_is_shared: bool = True) -> None:
        self._app = app
        self._hot = hot
        self._plain_is_shared = plain_is_shared
        self.inside = 0  # requests being handled
        self._empty: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, as ASGI tells it."""
        if scope["type"] != "http":
            return
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        self.enter()
        try:
            await self.handle(scope, receive, send_on)
        except asyncio.CancelledError:  # the process ends
            if not started:
                status, headers, body = last_resort(scope["path"])
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
            raise
        finally:
            self.leave()

    def enter(self) -> None:
        """Count a request."""
        self.inside += 1

    def leave(self) -> None:
        """Count it no more."""
        self.inside -= 1
        if self._empty is not None and not self.inside:
            self._empty.set()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request that has entered; whatever happens, its answer is a JSON object."""
        hot = self._hot
        road = None if hot is None else hot.road_of(scope)
        is_own = self._is_own(scope["scheme"] == "https")
        try:
            if hot is not None and road is not None:
                await hot.answer(road, scope, receive, send, is_own=is_own)
            else:
                await self._go_on(scope, receive, send, is_own=is_own)
        except ClientDisconnect:
            log.debug("client left before its body had come", path=without_token(scope["path"]))
        except Exception:
            log.exception("request failed", path=without_token(scope["path"]))

    @property
    def gateway(self) -> Gateway | None:
        """Who answers usual requests at once; None where nobody does."""
        return None if self._hot is None else self._hot.gateway

    def at_once(self, road: Road, headers: Headers, body: bytes, *, is_tls: bool) -> tuple[bytes, Headers] | None:
        """Return the usual answer's body and headers; None: `handle` must, and nothing has been done."""
        return None if self._hot is None else self._hot.at_once(road, headers, body, is_own=self._is_own(is_tls))

    def begin(self, road: Road, headers: Headers, body: bytes, answerer: Answerer, *, is_tls: bool) -> bool:
        """Take a usual post, to be answered now or later; False: `handle` must, and nothing has been done."""
        return self._hot is not None and self._hot.begin(road, headers, body, answerer, is_own=self._is_own(is_tls))

    def _is_own(self, is_tls: bool) -> bool:
        return is_tls or not self._plain_is_shared

    async def _go_on(self, scope: Scope, receive: Receive, send: Send, *, is_own: bool) -> None:
        more = surface_of(scope["path"]).headers(closes=is_own and _never_reuses(scope))
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except ClientDisconnect:
            raise
        except Exception:  # the last resort of HTTP: an empty answer would make the host delete its logs
            if not started:
                await send_json(send, 500, LAST_RESORT, [], more)
            raise

    async def emptied(self, timeout_seconds: float) -> bool:
        """Wait until nobody is inside; False when some still are after the time."""
        if not self.inside:
            return True
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True


def _never_reuses(scope: Scope) -> bool:
    return never_reuses(next((value for name, value in scope["headers"] if name == b"user-agent"), b""))

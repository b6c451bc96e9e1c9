"""The outermost layer: closes unused connections, answers when all else fails, counts who is inside."""

from __future__ import annotations

import asyncio

import structlog
from flotilla_common.http.asgi import App, Message, Receive, Scope, Send
from starlette.requests import ClientDisconnect

from agent_gateway.asgi import CLOSE, Headers, send_json
from agent_gateway.domain.clients import never_reuses
from agent_gateway.domain.surfaces import surface_of, without_token
from agent_gateway.refusals import LAST_RESORT

log = structlog.get_logger()


class Door:
    """Wraps the application for both listeners.

    `plain_is_shared`: connections without TLS are a balancer's, which sends many hosts' requests over each.
    """

    def __init__(self, app: App, *, plain_is_shared: bool = True) -> None:
        self._app = app
        self._plain_is_shared = plain_is_shared
        self.inside = 0  # requests being handled
        self._empty = asyncio.Event()
        self._empty.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; whatever happens, its answer is a JSON object."""
        if scope["type"] != "http":
            return
        extra = self._headers(scope)
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if extra:
                    message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        self.inside += 1
        self._empty.clear()
        try:
            await self._app(scope, receive, send_on)
        except ClientDisconnect:
            log.debug("client left before its body had come", path=without_token(scope["path"]))
        except Exception:  # the last resort of HTTP: an empty answer would make the host delete its logs
            log.exception("request failed", path=without_token(scope["path"]))
            if not started:
                await send_json(send_on, 500, LAST_RESORT, [])
        finally:
            self.inside -= 1
            if not self.inside:
                self._empty.set()

    async def emptied(self, timeout_seconds: float) -> bool:
        """Wait until nobody is inside; False when some still are after the time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _headers(self, scope: Scope) -> Headers:
        """Return what every answer to this request has beside its own headers, those of failures too.

        Only the host's own connection is ended for a host: a balancer's serves others after it.
        """
        is_the_hosts = scope["scheme"] == "https" or not self._plain_is_shared
        headers: Headers = [CLOSE] if is_the_hosts and _never_reuses(scope) else []
        capabilities = surface_of(scope["path"]).value
        if capabilities is not None:
            headers.append((b"x-fleet-capabilities", capabilities))
        return headers


def _never_reuses(scope: Scope) -> bool:
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return never_reuses(agent.decode("latin-1"))

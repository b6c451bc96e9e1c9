"""Answers what hosts ask all day, before any framework; every other request takes the ordinary routes.

The handlers in `domain` are those of the routes, and so is every byte that is answered. What this road saves is the
way there: routing, dependency injection, request and response objects.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from flotilla_common.errors import FleetError
from flotilla_common.http.asgi import Receive, Scope, Send
from starlette.requests import ClientDisconnect

from agent_gateway.asgi import NOT_FROM_MEMORY, Answerer, fill, headers_of, send_json, whole_of
from agent_gateway.domain.bodies import COPIES, Intake
from agent_gateway.domain.clients import key_in_header, never_reuses
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.roads import ALL_ROADS, Road
from agent_gateway.domain.surfaces import Headers
from agent_gateway.errors import BodyTooSlow
from agent_gateway.guard import Guard
from agent_gateway.hot.post import Post
from agent_gateway.refusals import LAST_RESORT, error_body, error_headers, error_status

log = structlog.get_logger()


class HotRoad:
    """Answers requests to the paths of `ALL_ROADS`."""

    def __init__(self, gateway: Gateway, guard: Guard) -> None:
        self.gateway = gateway
        self._guard = guard
        self._roads = ALL_ROADS

    def road_of(self, scope: Scope) -> Road | None:
        """Return the road of a request that may be answered here."""
        return self._roads.get(scope["path"]) if scope["method"] == "POST" else None

    def at_once(self, road: Road, headers: Headers, body: bytes, *, is_own: bool) -> tuple[bytes, Headers] | None:
        """Return the usual answer to a usual request whose whole body has come, and its headers.

        None: it must go the whole way, and nothing has been done; after a bug, too.
        """
        gzip, header_key, more = _told(road, headers, is_own=is_own)
        if gzip or road.from_memory is None or len(body) > road.limit:
            return None
        try:
            answer = road.from_memory(self.gateway, body, header_key)
        except Exception:
            log.exception("a usual answer failed", endpoint=road.endpoint)
            return None
        if answer is None:
            return None
        self.gateway.counters.requests[road.endpoint] += 1
        return answer, headers_of(answer, [], more)

    def begin(self, road: Road, headers: Headers, body: bytes, answerer: Answerer, *, is_own: bool) -> bool:
        """Take a usual post whose whole body has come; it is answered when all of it is in custody.

        False: it must go the whole way, and nothing has been done.
        """
        gateway = self.gateway
        gzip, header_key, more = _told(road, headers, is_own=is_own)
        if gzip or road.begin is None or not gateway.lets_in_at_once(road.request_class, road.limit, len(body)):
            return False
        size = COPIES * len(body)
        post = Post(road, more, gateway.counters, answerer, partial(gateway.memory.give_back, size))
        try:
            begun = road.begin(gateway, body, header_key, post.told)
        except Exception as error:  # noqa: BLE001 - answered
            begun, failure = None, error
        else:
            if begun is None:
                return False
        gateway.memory.used += size
        gateway.counters.requests[road.endpoint] += 1
        if begun is None:
            post.fail(failure)
            del failure  # whose frames hold the body, and this frame it
        else:
            post.wait_for(*begun)
        return True

    async def answer(self, road: Road, scope: Scope, receive: Receive, send: Send, *, is_own: bool) -> None:
        """Answer one request. `is_own`: the connection is the host's own, so it may be ended.

        Raises:
            ClientDisconnect: nobody is there any more.
            Exception: a bug, which was answered with `error`; the door logs it.

        """
        counters = self.gateway.counters
        counters.requests[road.endpoint] += 1
        gzip, header_key, more = _told(road, scope["headers"], is_own=is_own)
        try:
            body = await self._answer(road, scope, receive, header_key, gzip=gzip)
        except FleetError as error:
            counters.failures[error.code] += 1
            self._guard.failed(scope, error)
            await send_json(send, error_status(error), error_body(error, road.surface), error_headers(error), more)
        except ClientDisconnect:
            raise
        except Exception:  # as the routes do
            counters.failures["internal"] += 1
            await send_json(send, 500, LAST_RESORT, [], more)
            raise
        else:
            await send_json(send, 200, body, [], more)

    async def _answer(self, road: Road, scope: Scope, receive: Receive, header_key: str | None, *, gzip: bool) -> bytes:
        gateway, slow_bodies = self.gateway, self.gateway.slow_bodies
        intake: Intake | None = None
        try:
            waiter = slow_bodies.begin()
            try:
                message = await receive()
                from_memory = None if NOT_FROM_MEMORY in scope.get("extensions", ()) else road.from_memory
                if from_memory is not None and not gzip and not message.get("more_body", False):
                    body: bytes = message.get("body", b"")
                    answer = from_memory(gateway, body, header_key) if len(body) <= road.limit else None
                    if answer is not None:
                        return answer
                gateway = self._guard.gateway_for(scope)
                refusal = gateway.refusal(road.request_class, header_key)
                intake = Intake(road.limit, gateway.memory, gzip=gzip, refusal=refusal)
                await fill(intake, message, receive)
            except asyncio.CancelledError:
                slow_bodies.raise_if_late(waiter, BodyTooSlow)
                raise
            finally:
                slow_bodies.end(waiter)
            return await road.answer(gateway, await whole_of(intake, gateway, header_key), header_key)
        finally:
            if intake is not None:
                intake.release()


def _told(road: Road, headers: Headers, *, is_own: bool) -> tuple[bool, str | None, Headers]:
    """Return what a request's headers tell: is its body gzip, its key, what the answer's headers have beside."""
    gzip, header_key, more = False, None, road.headers
    for name, value in reversed(headers):  # of several the first one counts
        if name == b"user-agent":
            more = road.headers_and_close if is_own and never_reuses(value) else road.headers
        elif name == b"authorization":
            header_key = key_in_header(value)
        elif name == b"content-encoding":
            gzip = value.strip() == b"gzip"  # uvicorn leaves blanks at the end of a value
    return gzip, header_key, more

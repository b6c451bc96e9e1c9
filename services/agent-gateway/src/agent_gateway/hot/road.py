"""Answers what hosts ask all day, before any framework; every other request goes on to the ordinary routes.

The handlers in `domain` are those of the routes, and so is every byte that is answered. What this road saves is the
way there: routing, dependency injection, request and response objects.
"""

from __future__ import annotations

from flotilla_common.errors import FleetError
from flotilla_common.http.asgi import App, Message, Receive, Scope, Send
from starlette.requests import ClientDisconnect

from agent_gateway.asgi import body_deadline, body_of, first_message, send_json
from agent_gateway.domain.clients import key_in_header
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.roads import ALL_ROADS, Road
from agent_gateway.guard import Guard
from agent_gateway.refusals import LAST_RESORT, error_body, error_headers, error_status


class HotRoad:
    """An ASGI application before another one."""

    def __init__(self, app: App, gateway: Gateway, guard: Guard) -> None:
        self._app = app
        self._gateway = gateway
        self._guard = guard
        self._roads = ALL_ROADS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on untouched."""
        road = self._roads.get(scope["path"])
        if road is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        counters = self._gateway.counters
        counters.requests[road.endpoint] += 1
        try:
            body = await self._answer(road, scope, receive)
        except FleetError as error:
            counters.failures[error.code] += 1
            self._guard.failed(scope, error)
            await send_json(send, error_status(error), error_body(error, road.surface), error_headers(error))
        except ClientDisconnect:
            raise
        except Exception:  # as the routes do: the door logs it
            counters.failures["internal"] += 1
            await send_json(send, 500, LAST_RESORT, [])
            raise
        else:
            await send_json(send, 200, body, [])

    async def _answer(self, road: Road, scope: Scope, receive: Receive) -> bytes:
        gateway = self._gateway
        gzip, header_key = False, None
        for name, value in reversed(scope["headers"]):  # of several the first one counts
            if name == b"authorization":
                header_key = key_in_header(value.decode("latin-1"))
            elif name == b"content-encoding":
                gzip = value.strip() == b"gzip"  # uvicorn leaves blanks at the end of a value
        deadline = body_deadline()
        if road.from_memory is not None:
            message = await first_message(receive, deadline)
            body: bytes = message.get("body", b"")
            if not gzip and not message.get("more_body", False) and len(body) <= road.limit:
                answer = road.from_memory(gateway, body, header_key)
                if answer is not None:
                    return answer
            receive = _again(message, receive)
        gateway = self._guard.gateway_for(scope)
        refusal = gateway.refusal(road.request_class, header_key)
        async with body_of(receive, gateway, road.limit, gzip=gzip, refusal=refusal, deadline=deadline) as whole:
            return await road.answer(gateway, whole, header_key)


def _again(message: Message, receive: Receive) -> Receive:
    """Return a `receive` that begins with a message which was received already."""
    first: list[Message] = [message]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again

"""ASGI as both roads use it: a request's body within the caps, a whole answer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from flotilla_common.errors import FleetError
from flotilla_common.http.asgi import Message, Receive, Send
from starlette.requests import ClientDisconnect

from agent_gateway.domain.bodies import DrainedEnough, Intake
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.large_bodies import claimed_key
from agent_gateway.domain.patience import TURN_SECONDS, patience
from agent_gateway.domain.surfaces import Headers
from agent_gateway.errors import BodyTooSlow, NeverEnding

JSON = "application/json"
CONTENT_TYPE = (b"content-type", JSON.encode())
NOT_FROM_MEMORY = "flotilla.not_from_memory"
"""An extension of the scope: the usual answer has been looked for already, and there is none."""


def headers_of(body: bytes, headers: Headers, more: Headers) -> Headers:
    """Return an answer's headers in the order of Starlette's responses; `more` is what the door adds."""
    return [*headers, (b"content-length", b"%d" % len(body)), CONTENT_TYPE, *more]


async def send_json(send: Send, status: int, body: bytes, headers: Headers, more: Headers) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers_of(body, headers, more)})
    await send({"type": "http.response.body", "body": body})


Answerer = Callable[[int, Headers, bytes], None]
"""Writes a whole answer: status, headers, body."""


class WholeAnswer(ABC):
    """Gathers an answer as ASGI tells it, to write it in one piece."""

    __slots__ = ("_content", "_start", "is_complete")

    def __init__(self) -> None:
        self._start: Message = {}
        self._content = b""
        self.is_complete = False

    @abstractmethod
    def write(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer."""

    async def send(self, message: Message) -> None:
        """Take the next message; the last one has the answer written."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._content += message.get("body", b"")
        if not message.get("more_body", False):
            self.is_complete = True
            self.write(self._start["status"], self._start["headers"], self._content)


@asynccontextmanager
async def body_of(
    receive: Receive,
    gateway: Gateway,
    limit: int,
    *,
    gzip: bool,
    refusal: FleetError | None = None,
    leaves: int | None = None,
    header_key: str | None = None,
) -> AsyncIterator[bytes]:
    """Read the whole body; its memory counts until the request is answered. `refusal`: read it and keep nothing.

    Raises:
        ClientDisconnect: the client left before its body had come.
        BodyTooSlow, NeverEnding, TooLarge, Malformed, Unavailable.

    """
    intake = Intake(limit, gateway.memory, gzip=gzip, refusal=refusal, leaves=leaves)
    try:
        waiter = gateway.slow_bodies.begin()
        try:
            await fill(intake, await receive(), receive)
        except asyncio.CancelledError:
            gateway.slow_bodies.raise_if_late(waiter, BodyTooSlow)
            raise
        finally:
            gateway.slow_bodies.end(waiter)
        yield await whole_of(intake, gateway, header_key)
    finally:
        intake.release()


async def fill(intake: Intake, message: Message, receive: Receive) -> None:
    """Feed a body to its end; `message` is the first of its messages.

    Raises:
        ClientDisconnect, NeverEnding.

    """
    try:
        while True:
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            intake.feed(message.get("body", b""))
            if not message.get("more_body", False):
                return
            message = await receive()
    except DrainedEnough:
        raise NeverEnding from None


async def whole_of(intake: Intake, gateway: Gateway, header_key: str | None) -> bytes:
    """Return a body that has come to its end, inflated.

    Raises:
        TooLarge, Malformed, Unavailable: as `Intake` says.

    """
    intake.finish()
    async with patience(TURN_SECONDS, "other large bodies"):
        await intake.unpack(gateway.large_turn)
    body = await gateway.large.run(intake.size, intake.join)
    if gateway.known_host(claimed_key(body), header_key) is not None:
        intake.leave_turn()
    return body

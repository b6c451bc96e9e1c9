"""ASGI as both roads use it: a request's body within the caps, a whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flotilla_common.errors import FleetError
from flotilla_common.http.asgi import Message, Receive, Send
from starlette.requests import ClientDisconnect

from agent_gateway.domain.bodies import DrainedEnough, Intake
from agent_gateway.domain.gateway import Gateway
from agent_gateway.errors import BodyTooSlow, NeverEnding

Headers = list[tuple[bytes, bytes]]

JSON = "application/json"
CONTENT_TYPE = (b"content-type", JSON.encode())
CLOSE = (b"connection", b"close")

BODY_SECONDS = 60.0  # osqueryd gives up after 16


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a whole answer, its headers in the order of Starlette's responses."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, CONTENT_TYPE]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def body_of(
    receive: Receive,
    gateway: Gateway,
    limit: int,
    *,
    gzip: bool,
    refusal: FleetError | None = None,
    deadline: float | None = None,
) -> AsyncIterator[bytes]:
    """Read the whole body; its memory counts until the request is answered. `refusal`: read it and keep nothing.

    `deadline` (of the loop's clock) is when it must have come; without one it is set now.

    Raises:
        ClientDisconnect: the client left before its body had come.
        BodyTooSlow, NeverEnding, TooLarge, Malformed, Unavailable.

    """
    intake = Intake(limit, gateway.memory, gzip=gzip, refusal=refusal)
    try:
        await _fill(intake, receive, body_deadline() if deadline is None else deadline)
        intake.finish()
        yield await gateway.large.run(intake.size, intake.join)
    finally:
        intake.release()


def body_deadline() -> float:
    """Return when a body that begins now must have come, by the loop's clock."""
    return asyncio.get_running_loop().time() + BODY_SECONDS


async def first_message(receive: Receive, deadline: float) -> Message:
    """Return the first message of a body: most bodies have no other.

    Raises:
        BodyTooSlow: it did not come.

    """
    try:
        async with asyncio.timeout_at(deadline):
            return await receive()
    except TimeoutError:
        raise BodyTooSlow from None


async def _fill(intake: Intake, receive: Receive, deadline: float) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                intake.feed(message.get("body", b""))
                more = message.get("more_body", False)
    except DrainedEnough:
        raise NeverEnding from None
    except TimeoutError:
        raise BodyTooSlow from None

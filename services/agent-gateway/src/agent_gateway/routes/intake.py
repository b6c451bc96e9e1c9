"""Take a request in: its body within the caps, its key, its address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request, Response
from flotilla_common.errors import FleetError

from agent_gateway.deps import Deps
from agent_gateway.domain.bodies import DrainedEnough, Intake
from agent_gateway.domain.clients import key_in_header, remote_address
from agent_gateway.errors import BodyTooSlow, NeverEnding
from agent_gateway.routes.dialect import JSON

BODY_SECONDS = 60.0  # osqueryd gives up after 16


@asynccontextmanager
async def body_of(
    request: Request, deps: Deps, endpoint: str, limit: int, *, refusal: FleetError | None = None
) -> AsyncIterator[bytes]:
    """Read the whole body; its memory counts until the request is answered. `refusal`: read it and keep nothing."""
    deps.gateway.counters.requests[endpoint] += 1
    gzip = request.headers.get("content-encoding") == "gzip"
    intake = Intake(limit, deps.gateway.memory, gzip=gzip, refusal=refusal)
    try:
        await _fill(intake, request)
        intake.finish()
        yield await deps.gateway.large.run(intake.size, intake.join)
    finally:
        intake.release()


async def _fill(intake: Intake, request: Request) -> None:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                intake.feed(piece)
    except DrainedEnough:
        raise NeverEnding from None
    except TimeoutError:
        raise BodyTooSlow from None


def node_key_of(request: Request) -> str | None:
    """Return the node key of the `Authorization` header, if there is one."""
    return key_in_header(request.headers.get("authorization", ""))


def address_of(request: Request, deps: Deps) -> str:
    """Return the client's address; forwarded ones are believed from configured proxies only."""
    peer = request.client.host if request.client is not None else ""
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    return remote_address(peer, forwarded, deps.trusted_proxies)


def answered(body: bytes) -> Response:
    """Return a success: always a JSON object."""
    return Response(body, media_type=JSON)

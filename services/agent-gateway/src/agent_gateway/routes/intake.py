"""Take a request in: its body within the caps, its key, its address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request, Response

from agent_gateway.deps import Deps
from agent_gateway.domain.bodies import DrainedEnough, Intake
from agent_gateway.domain.clients import key_in_header, remote_address
from agent_gateway.errors import TooLarge
from agent_gateway.routes.dialect import JSON


@asynccontextmanager
async def body_of(request: Request, deps: Deps, endpoint: str, limit: int) -> AsyncIterator[bytes]:
    """Read the whole body; its memory counts until the request is answered."""
    deps.gateway.counters.requests[endpoint] += 1
    gzip = request.headers.get("content-encoding") == "gzip"
    intake = Intake(limit, deps.gateway.memory, gzip=gzip)
    try:
        try:
            async for piece in request.stream():
                intake.feed(piece)
        except DrainedEnough:
            raise TooLarge from None
        yield intake.finish()
    finally:
        intake.release()


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

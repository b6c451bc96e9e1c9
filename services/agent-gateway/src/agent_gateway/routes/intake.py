"""What the routes read from a request beside its body: compression, key, address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request, Response

from agent_gateway.asgi import JSON, body_of
from agent_gateway.deps import Deps
from agent_gateway.domain.bodies import CARVES_LEAVE
from agent_gateway.domain.clients import key_in_header, remote_address
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.request_classes import RequestClass
from agent_gateway.domain.roads import Road


def counted(endpoint: str, deps: Deps) -> Gateway:
    """Count a request, and return what answers it."""
    deps.gateway.counters.requests[endpoint] += 1
    return deps.gateway


def counted_and_guarded(endpoint: str, request: Request, deps: Deps) -> Gateway:
    """Do the same for a request that brings a credential: who failed too often has nobody asked about it."""
    counted(endpoint, deps)
    return deps.guard.gateway_for(request.scope)


@asynccontextmanager
async def counted_body(
    endpoint: str, request: Request, deps: Deps, limit: int, request_class: RequestClass
) -> AsyncIterator[tuple[Gateway, bytes]]:
    """Count a request, read its body, of `limit` bytes at most, and yield what answers it; raises as `body_of` does."""
    gateway = counted_and_guarded(endpoint, request, deps)
    refusal = gateway.refusal(request_class)
    leaves = CARVES_LEAVE if request_class == "carve" else None
    async with body_of(request.receive, gateway, limit, gzip=is_gzip(request), refusal=refusal, leaves=leaves) as body:
        yield gateway, body


def is_gzip(request: Request) -> bool:
    """Whether the body says that it is compressed; exactly as osqueryd says it."""
    return request.headers.get("content-encoding", "").strip() == "gzip"


def node_key_of(request: Request) -> str | None:
    """Return the node key of the `Authorization` header, if there is one."""
    return key_in_header(request.headers.get("authorization", "").encode("latin-1"))


def address_of(request: Request, deps: Deps) -> str:
    """Return the client's address; forwarded ones are believed from configured proxies only."""
    peer = request.client.host if request.client is not None else ""
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    return remote_address(peer, forwarded, deps.trusted_proxies)


def answered(body: bytes) -> Response:
    """Return a success: always a JSON object."""
    return Response(body, media_type=JSON)


def pong() -> Response:
    """Return the answer to a HEAD request, which has no body."""
    return Response(media_type=JSON)


async def answer_road(road: Road, request: Request, deps: Deps) -> Response:
    """Answer as the hot road does, by the ordinary way."""
    gateway = counted_and_guarded(road.endpoint, request, deps)
    header_key = node_key_of(request)
    refusal = gateway.refusal(road.request_class, header_key)
    reading = body_of(
        request.receive, gateway, road.limit, gzip=is_gzip(request), refusal=refusal, header_key=header_key
    )
    async with reading as body:
        return answered(await road.answer(gateway, body, header_key))

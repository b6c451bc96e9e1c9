"""Orbit's API: under /api/fleet/orbit, without a version."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from agent_gateway.asgi import body_of
from agent_gateway.deps import DepsDep
from agent_gateway.domain.bodies import READ_LIMIT
from agent_gateway.domain.orbit_enroll import answer_orbit_enroll
from agent_gateway.domain.orbit_token import answer_device_token
from agent_gateway.domain.roads import ORBIT_CONFIG
from agent_gateway.routes.intake import address_of, answer_road, answered, is_gzip, pong

router = APIRouter()


@router.head("/ping")
async def ping(deps: DepsDep) -> Response:
    """Tell, by the header of every answer, what this server can do."""
    deps.gateway.counters.requests["orbit_ping"] += 1
    return pong()


@router.post("/enroll")
async def enroll(request: Request, deps: DepsDep) -> Response:
    """Trade an enroll secret for an orbit key."""
    deps.gateway.counters.requests["orbit_enroll"] += 1
    gateway = deps.guard.gateway_for(request.scope)
    refusal = gateway.refusal("enroll")
    async with body_of(request.receive, gateway, READ_LIMIT, gzip=is_gzip(request), refusal=refusal) as body:
        return answered(await answer_orbit_enroll(gateway, body, address_of(request, deps)))


@router.post("/config")
async def config(request: Request, deps: DepsDep) -> Response:
    """Hand out what orbit is to do."""
    return await answer_road(ORBIT_CONFIG, request, deps)


@router.post("/device_token")
async def device_token(request: Request, deps: DepsDep) -> Response:
    """Remember the token that the host's desktop will show."""
    deps.gateway.counters.requests["orbit_device_token"] += 1
    gateway = deps.guard.gateway_for(request.scope)
    async with body_of(request.receive, gateway, READ_LIMIT, gzip=is_gzip(request)) as body:
        return answered(await answer_device_token(gateway, body))

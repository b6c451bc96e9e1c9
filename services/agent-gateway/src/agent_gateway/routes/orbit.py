"""Orbit's API: under /api/fleet/orbit, without a version."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from agent_gateway.deps import DepsDep
from agent_gateway.domain.bodies import READ_LIMIT
from agent_gateway.domain.orbit_enroll import answer_orbit_enroll
from agent_gateway.domain.orbit_token import answer_device_token
from agent_gateway.domain.roads import ORBIT_CONFIG
from agent_gateway.routes.intake import address_of, answer_road, answered, counted, counted_body, pong

router = APIRouter()


@router.head("/ping")
async def ping(deps: DepsDep) -> Response:
    """Tell, by the header of every answer, what this server can do."""
    counted("orbit_ping", deps)
    return pong()


@router.post("/enroll")
async def enroll(request: Request, deps: DepsDep) -> Response:
    """Trade an enroll secret for an orbit key."""
    async with counted_body("orbit_enroll", request, deps, READ_LIMIT, "enroll") as (gateway, body):
        return answered(await answer_orbit_enroll(gateway, body, address_of(request, deps)))


@router.post("/config")
async def config(request: Request, deps: DepsDep) -> Response:
    """Hand out what orbit is to do."""
    return await answer_road(ORBIT_CONFIG, request, deps)


@router.post("/device_token")
async def device_token(request: Request, deps: DepsDep) -> Response:
    """Remember the token that the host's desktop will show."""
    async with counted_body("orbit_device_token", request, deps, READ_LIMIT, "orbit") as (gateway, body):
        return answered(await answer_device_token(gateway, body))

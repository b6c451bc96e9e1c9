"""osquery's remote API: POST under /api/osquery and /api/v1/osquery."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from agent_gateway.deps import DepsDep
from agent_gateway.domain import roads
from agent_gateway.domain.bodies import CARVE_BLOCK_LIMIT, ENROLL_LIMIT, READ_LIMIT
from agent_gateway.domain.carve import answer_begin, answer_block
from agent_gateway.domain.enroll import answer_enroll
from agent_gateway.routes.intake import address_of, answer_road, answered, counted_body, node_key_of

router = APIRouter()


@router.post("/enroll")
async def enroll(request: Request, deps: DepsDep) -> Response:
    """Trade an enroll secret for a node key."""
    async with counted_body("enroll", request, deps, ENROLL_LIMIT, "enroll") as (gateway, body):
        return answered(await answer_enroll(gateway, body, address_of(request, deps)))


@router.post("/config")
async def config(request: Request, deps: DepsDep) -> Response:
    """Hand out the config of the host's class."""
    return await answer_road(roads.CONFIG, request, deps)


@router.post("/distributed/read")
async def distributed_read(request: Request, deps: DepsDep) -> Response:
    """Hand out the queries that are to run now."""
    return await answer_road(roads.DISTRIBUTED_READ, request, deps)


@router.post("/distributed/write")
async def distributed_write(request: Request, deps: DepsDep) -> Response:
    """Take the results of queries."""
    return await answer_road(roads.DISTRIBUTED_WRITE, request, deps)


@router.post("/log")
async def log(request: Request, deps: DepsDep) -> Response:
    """Take result and status lines into custody."""
    return await answer_road(roads.LOG, request, deps)


@router.post("/carve/begin")
async def carve_begin(request: Request, deps: DepsDep) -> Response:
    """Let a host send a file that it was asked for."""
    async with counted_body("carve_begin", request, deps, READ_LIMIT, "carve") as (gateway, body):
        return answered(await answer_begin(gateway, body, node_key_of(request)))


@router.post("/carve/block")
async def carve_block(request: Request, deps: DepsDep) -> Response:
    """Take a block of such a file."""
    async with counted_body("carve_block", request, deps, CARVE_BLOCK_LIMIT, "carve") as (gateway, body):
        return answered(await answer_block(gateway, body, node_key_of(request)))

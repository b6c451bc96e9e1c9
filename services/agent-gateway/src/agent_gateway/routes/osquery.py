"""osquery's remote API: POST under /api/osquery and /api/v1/osquery."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from agent_gateway.deps import DepsDep
from agent_gateway.domain.bodies import DISTRIBUTED_WRITE_LIMIT, ENROLL_LIMIT, LOG_LIMIT, READ_LIMIT
from agent_gateway.domain.config import answer_config
from agent_gateway.domain.distributed_read import answer_read
from agent_gateway.domain.distributed_write import answer_write
from agent_gateway.domain.enroll import answer_enroll
from agent_gateway.domain.log import answer_log
from agent_gateway.routes.intake import address_of, answered, body_of, node_key_of

PREFIXES = ("/api/osquery", "/api/v1/osquery")

router = APIRouter()


@router.post("/enroll")
async def enroll(request: Request, deps: DepsDep) -> Response:
    """Trade an enroll secret for a node key."""
    async with body_of(request, deps, "enroll", ENROLL_LIMIT) as body:
        return answered(await answer_enroll(deps.gateway, body, address_of(request, deps)))


@router.post("/config")
async def config(request: Request, deps: DepsDep) -> Response:
    """Hand out the config of the host's class."""
    async with body_of(request, deps, "config", READ_LIMIT) as body:
        return answered(await answer_config(deps.gateway, body, node_key_of(request)))


@router.post("/distributed/read")
async def distributed_read(request: Request, deps: DepsDep) -> Response:
    """Hand out the queries that are to run now."""
    async with body_of(request, deps, "distributed_read", READ_LIMIT) as body:
        return answered(await answer_read(deps.gateway, body, node_key_of(request)))


@router.post("/distributed/write")
async def distributed_write(request: Request, deps: DepsDep) -> Response:
    """Take the results of queries."""
    async with body_of(request, deps, "distributed_write", DISTRIBUTED_WRITE_LIMIT) as body:
        return answered(await answer_write(deps.gateway, body, node_key_of(request)))


@router.post("/log")
async def log(request: Request, deps: DepsDep) -> Response:
    """Take result and status lines into custody."""
    async with body_of(request, deps, "log", LOG_LIMIT, refusal=deps.gateway.log_refusal()) as body:
        return answered(await answer_log(deps.gateway, body, node_key_of(request)))

"""GET /carves: files that hosts have sent (admin API part 19), and a whole one at once, which is an addition."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence

import structlog
from fastapi import Response
from fastapi.responses import StreamingResponse
from flotilla_common.db.models.live_query import Carve
from pydantic import BaseModel

from admin_api.deps import DepsDep
from admin_api.domain import carves
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.config_masks import MASK
from admin_api.errors import BadRequest
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.envelope import CONTENT_TYPE, Time
from admin_api.routes.list_options import ListOptionsDep
from admin_api.routes.versions import Flag, Id, members_router
from admin_api.store import carves as store

router = members_router("carves")
log = structlog.get_logger()


class CarveBody(BaseModel):
    """A carve; complete when `max_block` is `block_count` - 1. Its session id is a credential, and is not shown."""

    id: int
    created_at: Time
    host_id: int
    name: str
    block_count: int
    block_size: int
    carve_size: int
    carve_id: str
    request_id: str
    session_id: str
    expired: bool
    error: str | None
    max_block: int
    campaign_id: int | None
    format: str
    expires_at: Time


class CarveList(BaseModel):
    """Carves; null when there are none."""

    carves: list[CarveBody] | None


class CarveAnswer(BaseModel):
    """One carve."""

    carve: CarveBody


class BlockAnswer(BaseModel):
    """A block, in base64."""

    data: str


@router.get("/carves")
async def list_carves(deps: DepsDep, viewer: ViewerDep, options: ListOptionsDep, *, expired: Flag = False) -> CarveList:
    """List carves, with `expired` also those whose contents are gone."""
    authorize(viewer, Action.READ_CARVES)
    now = deps.clock()
    async with deps.sessions.begin() as session:
        rows: Sequence[Carve] = await store.page(session, options, now, expired=expired)
    return CarveList(carves=[_body(row, expired=carves.is_expired(row, now)) for row in rows] or None)


@router.get("/carves/{carve_id:int}")
async def get_carve(deps: DepsDep, viewer: ViewerDep, carve_id: Id) -> CarveAnswer:
    """Return what is known of a carve."""
    authorize(viewer, Action.READ_CARVES)
    async with deps.sessions.begin() as session:
        carve = await carves.find(session, carve_id)
    return CarveAnswer(carve=_body(carve, expired=carves.is_expired(carve, deps.clock())))


@router.get("/carves/{carve_id:int}/block/{block_id}", response_model=BlockAnswer)
async def get_block(deps: DepsDep, viewer: ViewerDep, carve_id: Id, block_id: str) -> Response:
    """Return a block."""
    authorize(viewer, Action.READ_CARVES)
    number = _block_number(block_id)
    async with deps.carve_reads.one():
        async with deps.sessions.begin() as session:
            block = await carves.find_block(session, carve_id, number, deps.clock())
        parts = [part async for part in carves.content_of(deps.blobs, block)]
        body = await asyncio.to_thread(_in_base64, parts)
    log.info("block of a carve read", carve_id=carve_id, block_id=number, user_id=viewer.user_id)
    return Response(body, headers={"content-type": CONTENT_TYPE})


@router.get(
    "/carves/{carve_id:int}/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def download_carve(deps: DepsDep, viewer: ViewerDep, carve_id: Id) -> Response:
    """Return a complete carve as a file: a tar archive, compressed by zstd where the host does so."""
    authorize(viewer, Action.READ_CARVES)
    async with deps.sessions.begin() as session:
        carve = await carves.find_complete(session, carve_id, deps.clock())
    content = carves.whole(deps.sessions, deps.blobs, deps.carve_reads, carve)
    first = await anext(content)  # what is wrong by now is answered as such
    log.info("carve downloaded", carve_id=carve_id, host_id=carve.host_id, user_id=viewer.user_id)
    headers = {
        "content-disposition": f'attachment; filename="{carves.file_name(carve)}"',
        "content-length": str(carve.bytes_stored),
    }
    return StreamingResponse(_from(first, content), media_type="application/octet-stream", headers=headers)


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _block_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest("block_id is no number")
    return int(text)


def _in_base64(parts: Sequence[bytes]) -> bytes:
    return b'{\n  "data": "' + base64.b64encode(b"".join(parts)) + b'"\n}\n'


def _body(carve: Carve, *, expired: bool) -> CarveBody:
    return CarveBody(
        id=carve.id or 0,
        created_at=carve.created_at,
        host_id=carve.host_id,
        name=carve.name,
        block_count=carve.block_count,
        block_size=carve.block_size,
        carve_size=carve.carve_size,
        carve_id=carve.carve_guid,
        request_id=carve.request_id,
        session_id=MASK,
        expired=expired,
        error=carve.error,
        max_block=carve.max_block,
        campaign_id=carve.campaign_id,
        format=carve.format,
        expires_at=carve.expires_at,
    )

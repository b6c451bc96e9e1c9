"""Results of live queries over WebSockets: raw, and SockJS (admin API 15.3).

The token comes in the first message: no header or cookie is looked at, so a foreign page gains nothing by opening a
socket; its handshake is refused all the same.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from fastapi import Response, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse
from flotilla_common.bus import outage
from flotilla_common.db.models.live_query import Campaign
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from admin_api.deps import Deps, deps_of
from admin_api.domain import campaigns, sockjs
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.campaign_progress import message
from admin_api.domain.viewer import Viewer
from admin_api.routes.aggregate_feed import AggregateFeed
from admin_api.routes.campaign_feed import CampaignFeed
from admin_api.routes.campaign_sockets import RawSocket, Refused, SockJSSocket, TakesNothing, ViewerSocket
from admin_api.routes.campaign_watch import login_of, watch
from admin_api.routes.envelope import failure
from admin_api.routes.versions import public_router
from admin_api.store import campaign_rows
from admin_api.store import campaigns as campaign_store

log = structlog.get_logger()
router = public_router("live queries")

HELLO_SECONDS = 5.0  # until a viewer must have said who it is, and again until it must have said what it wants to see


TOO_MANY = "too many viewers"


class _Incoming(BaseModel):
    model_config = ConfigDict(strict=True)

    type: str
    data: Any = None


class _Auth(BaseModel):
    model_config = ConfigDict(strict=True)

    token: str = Field(max_length=1024)


class _Selection(BaseModel):
    model_config = ConfigDict(strict=True)

    campaign_id: int = Field(ge=0, le=2**63 - 1)
    last: str | None = None


@router.get("/results", include_in_schema=False, response_class=PlainTextResponse)
@router.get("/results/", include_in_schema=False, response_class=PlainTextResponse)
async def greet() -> PlainTextResponse:
    """Say that SockJS is spoken here."""
    return PlainTextResponse(sockjs.GREETING)


@router.get("/results/info")
async def sockjs_information(response: Response) -> dict[str, Any]:
    """Tell SockJS clients that WebSockets work."""
    response.headers["Cache-Control"] = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
    return sockjs.information()


@router.websocket("/results/websocket")
async def watch_raw(websocket: WebSocket) -> None:
    """Stream a campaign's results as plain JSON texts."""
    await _serve(websocket, RawSocket(websocket))


@router.websocket("/results/{server}/{session}/websocket")
async def watch_sockjs(websocket: WebSocket, server: str, session: str) -> None:
    """Stream a campaign's results in SockJS frames."""
    del server, session  # SockJS names its sessions; ours live as long as their socket
    await _serve(websocket, SockJSSocket(websocket))


async def _serve(websocket: WebSocket, socket: ViewerSocket) -> None:
    deps = deps_of(websocket)
    if not is_own_origin(websocket.headers.get("origin"), websocket.headers.get("host", ""), deps):
        await websocket.close(1008)  # before it is accepted: the handshake gets 403
        return
    if deps.views.hellos >= deps.settings.most_hellos or deps.views.viewers >= deps.settings.most_viewers:
        await websocket.send_denial_response(failure(503, "Service Unavailable", [("base", TOO_MANY)]))
        return
    try:
        await _converse(deps, socket)
    except WebSocketDisconnect:
        log.debug("viewer left")
    except TakesNothing:
        log.info("viewer takes nothing")
        await _close(websocket)


async def _close(websocket: WebSocket) -> None:
    try:
        async with asyncio.timeout(1):
            await websocket.close(1001)
    except (TimeoutError, WebSocketDisconnect, RuntimeError) as error:
        log.debug("viewer could not be told", error=repr(error))


def is_own_origin(origin: str | None, host: str, deps: Deps) -> bool:
    """Whether a handshake comes from no page, from one of ours, or from one that the settings allow."""
    if origin is None:
        return True
    allowed = [item.strip().lower() for item in deps.settings.allowed_origins.split(",") if item.strip()]
    scheme, _, authority = origin.lower().partition("://")
    return (scheme in {"http", "https"} and authority == host.lower()) or origin.lower() in allowed


async def _converse(deps: Deps, socket: ViewerSocket) -> None:
    try:
        with deps.views.greeting():
            await socket.open()
            token, viewer, campaign, last = await _admit(deps, socket)
        feed = CampaignFeed(deps, socket, campaign, last, visible_team_ids(viewer))
        sums = AggregateFeed(deps, socket, token, campaign.id or 0)
        with deps.views.watching():
            await _first_of(feed.run(), watch(deps, token, campaign, feed), sums.run(), _listen(socket, sums))
    except Refused as refusal:
        await socket.send(message("error", str(refusal)))
        await socket.end()
    except outage.kinds() as error:
        log.warning("viewer cannot be served", error=repr(error))
        await socket.send(message("error", "a part that is needed does not answer now"))
        await socket.end()


async def _admit(deps: Deps, socket: ViewerSocket) -> tuple[str, Viewer, Campaign, str]:
    """Hear who it is and what it wants to see: token and whose it is, campaign, position.

    Raises:
        Refused: one of them is missing, wrong or not allowed, or there is no room for another viewer.

    """
    token = _token(await _hear(socket))
    viewer = await login_of(deps, token)
    selection = _selection(await _hear(socket))
    campaign = await _campaign(deps, viewer, selection.campaign_id)
    if deps.views.viewers >= deps.settings.most_viewers:
        raise Refused(TOO_MANY)
    return token, viewer, campaign, selection.last or campaign_rows.START


async def _hear(socket: ViewerSocket) -> str:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            return await socket.receive()
    except TimeoutError as error:
        raise Refused("timeout: nothing was selected") from error


def _token(text: str) -> str:
    try:
        incoming = _Incoming.model_validate_json(text)
        if incoming.type == "auth":
            return _Auth.model_validate(incoming.data).token
    except ValidationError as error:
        raise Refused("unauthorized") from error
    raise Refused("unauthorized")


def _selection(text: str) -> _Selection:
    try:
        incoming = _Incoming.model_validate_json(text)
    except ValidationError as error:
        raise Refused("error reading select_campaign") from error
    if incoming.type != "select_campaign":
        raise Refused("expected select_campaign")
    try:
        selection = _Selection.model_validate(incoming.data)
    except ValidationError as error:
        raise Refused("error unmarshaling selectCampaign data") from error
    if selection.last is not None and not campaign_rows.is_position(selection.last):
        raise Refused("error unmarshaling selectCampaign data")
    if selection.campaign_id == 0:
        raise Refused("0 is not a valid campaign ID")
    return selection


async def _campaign(deps: Deps, viewer: Viewer, campaign_id: int) -> Campaign:
    async with deps.sessions.begin() as session:
        campaign = await campaign_store.by_id(session, campaign_id)
        if campaign is None:
            raise Refused(f"cannot find campaign for ID {campaign_id}")
        if not await campaigns.may_watch(session, viewer, campaign, deps.sql_reader):
            raise Refused("forbidden")
    return campaign


async def _listen(socket: ViewerSocket, sums: AggregateFeed) -> None:
    """Notice when the viewer leaves, or what it wants added up. Other JSON is passed over, anything else ends it."""
    while True:
        try:
            incoming = _Incoming.model_validate_json(await socket.receive())
        except ValidationError as error:
            raise Refused("unreadable message") from error
        if incoming.type == "select_aggregate":
            await sums.select(incoming.data)


async def _first_of(*runs: Any) -> None:
    """Run side by side until the first one ends, which raises what it raised."""
    tasks = [asyncio.ensure_future(run) for run in runs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()

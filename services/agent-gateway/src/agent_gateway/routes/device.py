"""The device API, for the desktop application: under /api/{v1,2022-04,latest}/fleet/device, the token in the path."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Response

from agent_gateway.asgi import JSON
from agent_gateway.deps import DepsDep
from agent_gateway.domain import device
from agent_gateway.routes.intake import answered, pong

SAFE_IN_URLS = ":/%#?=@[]!$&'()*+,;~"  # what a URL may have; a line break is escaped

router = APIRouter()
unversioned = APIRouter()


@unversioned.head("/ping")
async def ping(deps: DepsDep) -> Response:
    """Say that the device API is here."""
    deps.gateway.counters.requests["device_ping"] += 1
    return pong()


@router.head("/{token}/ping")
async def token_ping(token: str, deps: DepsDep) -> Response:
    """Say whether a token is good."""
    deps.gateway.counters.requests["device_token_ping"] += 1
    await device.check_token(deps.gateway, token)
    return pong()


@router.get("/{token}/desktop")
async def desktop(token: str, deps: DepsDep) -> Response:
    """Return what the desktop's menu shows."""
    deps.gateway.counters.requests["device_desktop"] += 1
    return answered(await device.desktop_summary(deps.gateway, token))


@router.post("/{token}/refetch")
async def refetch(token: str, deps: DepsDep) -> Response:
    """Have the host's details asked for again."""
    deps.gateway.counters.requests["device_refetch"] += 1
    return answered(await device.refetch(deps.gateway, token))


@router.get("/{token}/transparency")
async def transparency(token: str, deps: DepsDep) -> Response:
    """Send the browser to the page that says what is collected."""
    deps.gateway.counters.requests["device_transparency"] += 1
    url = await device.transparency_url(deps.gateway, token)
    return Response(b"{}", 307, headers={"location": quote(url, safe=SAFE_IN_URLS)}, media_type=JSON)

"""The device API, for the desktop application: under /api/{v1,2022-04,latest}/fleet/device, the token in the path."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Response

from agent_gateway.asgi import JSON
from agent_gateway.deps import DepsDep
from agent_gateway.domain import device
from agent_gateway.routes.intake import answered, counted, pong

SAFE_IN_URLS = ":/%#?=@[]!$&'()*+,;~"  # what a URL may have; a line break is escaped

router = APIRouter()
unversioned = APIRouter()


@unversioned.head("/ping")
async def ping(deps: DepsDep) -> Response:
    """Say that the device API is here."""
    counted("device_ping", deps)
    return pong()


@router.head("/{token}/ping")
async def token_ping(token: str, deps: DepsDep) -> Response:
    """Say whether a token is good."""
    await device.check_token(counted("device_token_ping", deps), token)
    return pong()


@router.get("/{token}/desktop")
async def desktop(token: str, deps: DepsDep) -> Response:
    """Return what the desktop's menu shows."""
    return answered(await device.desktop_summary(counted("device_desktop", deps), token))


@router.post("/{token}/refetch")
async def refetch(token: str, deps: DepsDep) -> Response:
    """Have the host's details asked for again."""
    return answered(await device.refetch(counted("device_refetch", deps), token))


@router.get("/{token}/transparency")
async def transparency(token: str, deps: DepsDep) -> Response:
    """Send the browser to the page that says what is collected."""
    url = await device.transparency_url(counted("device_transparency", deps), token)
    headers = {"location": quote(url, safe=SAFE_IN_URLS), "referrer-policy": "no-referrer"}  # the path has the token
    return Response(b"{}", 307, headers=headers, media_type=JSON)

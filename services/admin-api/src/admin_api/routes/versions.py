"""One handler under three versions of the prefix; the OpenAPI document shows `latest` alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException

from admin_api.deps import deps_of
from admin_api.domain.setup import is_set_up
from admin_api.domain.viewer import Viewer
from admin_api.routes.authentication import authenticate_request, login_of
from admin_api.routes.envelope import PrettyJSON

VERSIONS = ("v1", "2022-04", "latest")
SHOWN = "latest"

Id = Annotated[int, Path(ge=0, le=2**63 - 1)]
"""A number in a path. Write `{host_id:int}` in the path too, so that other text is a route miss (404)."""


def _flag(value: object) -> bool:
    return value in {"true", "1", True}


Flag = Annotated[bool, BeforeValidator(_flag), Query()]
"""A boolean query parameter: true for `true` and `1` only."""


class PublicRoute(APIRoute):
    """A route for everybody, once the first admin exists; until then nothing but setup is there."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Check before the body is looked at."""
        handle = super().get_route_handler()

        async def gated(request: Request) -> Response:
            await require_setup(request)
            return await handle(request)

        return gated


class MemberRoute(APIRoute):
    """A route for logged-in users: 401 comes before any complaint about the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Check before the body is looked at."""
        handle = super().get_route_handler()

        async def gated(request: Request) -> Response:
            await require_setup(request)
            await self.identify(request)
            return await handle(request)

        return gated

    async def identify(self, request: Request) -> Viewer:
        """Find out who calls."""
        return await authenticate_request(request)


class ResettingRoute(MemberRoute):
    """A route for logged-in users who may have to change their password first."""

    async def identify(self, request: Request) -> Viewer:
        """Find out who calls."""
        return await login_of(request)


async def require_setup(request: Request) -> None:
    """Answer 404 to everything until the first admin exists (clients read that as "run setup")."""
    deps = deps_of(request)
    if not deps.setup.done:
        async with deps.sessions.begin() as session:
            deps.setup.done = await is_set_up(session)
    if not deps.setup.done:
        raise HTTPException(404, "Not Found")


def members_router(tag: str) -> APIRouter:
    """Return a router for logged-in users; paths are relative to the versioned prefix."""
    return APIRouter(route_class=MemberRoute, tags=[tag], default_response_class=PrettyJSON)


def resetting_router(tag: str) -> APIRouter:
    """Return a router for logged-in users, those included who must change their password."""
    return APIRouter(route_class=ResettingRoute, tags=[tag], default_response_class=PrettyJSON)


def public_router(tag: str) -> APIRouter:
    """Return a router for everybody."""
    return APIRouter(route_class=PublicRoute, tags=[tag], default_response_class=PrettyJSON)


def include_versions(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Serve the routers under every version."""
    for router in routers:
        for version in VERSIONS:
            app.include_router(router, prefix=f"/api/{version}/fleet", include_in_schema=version == SHOWN)

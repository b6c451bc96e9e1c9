"""Who is calling: the bearer token of a request, turned into a `Viewer`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPBearer

from admin_api.deps import deps_of
from admin_api.domain import sessions
from admin_api.domain.viewer import Viewer
from admin_api.errors import Unauthenticated

NO_TOKEN = "Authorization header required"  # noqa: S105 - a message, not a password
MUST_RESET = "password reset required"

_scheme = HTTPBearer(auto_error=False, description="the token that POST /login answers")


def token_of(connection: HTTPConnection) -> str:
    """Return the token of the `Authorization` header, else of the query parameter `token`.

    Raises:
        Unauthenticated: there is none; anything but two words after the header's name counts as none.

    """
    words = connection.headers.get("authorization", "").split()
    if len(words) == 2 and words[0].lower() == "bearer":
        return words[1]
    token = connection.query_params.get("token", "")
    if "authorization" in connection.headers or not token:
        raise Unauthenticated(NO_TOKEN)
    return token


async def authenticate_request(request: Request) -> Viewer:
    """Find out who calls and remember it for the request.

    Raises:
        Unauthenticated: no token, a bad one, or the user has to change the password first.

    """
    viewer = await login_of(request)
    if viewer.must_reset_password:
        raise Unauthenticated(MUST_RESET)
    return viewer


async def login_of(request: Request) -> Viewer:
    """Like `authenticate_request`, but lets in users who must change their password."""
    deps = deps_of(request)
    async with deps.sessions.begin() as session:
        viewer = await sessions.authenticate(
            session, token_of(request), now=deps.clock(), lifetime_seconds=deps.settings.session_seconds
        )
    request.state.viewer = viewer
    return viewer


async def _viewer(request: Request) -> Viewer:
    known: Viewer | None = getattr(request.state, "viewer", None)
    return known if known is not None else await authenticate_request(request)


async def _documented_viewer(
    viewer: Annotated[Viewer, Depends(_viewer)], _: Annotated[object, Security(_scheme)]
) -> Viewer:
    return viewer


ViewerDep = Annotated[Viewer, Depends(_documented_viewer)]

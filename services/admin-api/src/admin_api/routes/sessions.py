"""Logins of oneself, and for admins of everybody."""

from __future__ import annotations

from typing import Any

from flotilla_common.db.models.admin_api import LoginSession
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import DepsDep
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.viewer import Viewer
from admin_api.errors import Missing
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.envelope import Time
from admin_api.routes.versions import Id, members_router
from admin_api.store import login_sessions, users

router = members_router("sessions")


class SessionBody(BaseModel):
    """A login."""

    session_id: int
    user_id: int
    created_at: Time


class SessionList(BaseModel):
    """Logins."""

    sessions: list[SessionBody]


@router.get("/users/{user_id:int}/sessions")
async def list_sessions(user_id: Id, deps: DepsDep, viewer: ViewerDep) -> SessionList:
    """List a user's logins."""
    async with deps.sessions.begin() as session:
        await _check_user(session, viewer, user_id)
        return SessionList(sessions=[_body(row) for row in await login_sessions.of_user(session, user_id)])


@router.delete("/users/{user_id:int}/sessions")
async def delete_sessions(user_id: Id, deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """End all of a user's logins at once."""
    async with deps.sessions.begin() as session:
        await _check_user(session, viewer, user_id)
        await login_sessions.remove_of_user(session, user_id)
    return {}


@router.get("/sessions/{session_id:int}")
async def get_session(session_id: Id, deps: DepsDep, viewer: ViewerDep) -> SessionBody:
    """Show a login."""
    async with deps.sessions.begin() as session:
        return _body(await _find(session, viewer, session_id))


@router.delete("/sessions/{session_id:int}")
async def delete_session(session_id: Id, deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """End a login."""
    async with deps.sessions.begin() as session:
        await _find(session, viewer, session_id)
        await login_sessions.remove(session, session_id)
    return {}


async def _check_user(session: AsyncSession, viewer: Viewer, user_id: int) -> None:
    if user_id != viewer.user_id:
        authorize(viewer, Action.READ_SESSIONS)
    if await users.get(session, user_id) is None:
        raise Missing("User", user_id)


async def _find(session: AsyncSession, viewer: Viewer, session_id: int) -> LoginSession:
    row = await login_sessions.get(session, session_id)
    if row is None or row.user_id != viewer.user_id:
        authorize(viewer, Action.READ_SESSIONS)
    if row is None:
        raise Missing("Session", session_id)
    return row


def _body(row: LoginSession) -> SessionBody:
    return SessionBody(session_id=row.id or 0, user_id=row.user_id, created_at=row.created_at)

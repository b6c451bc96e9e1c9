"""Logins: opening one, recognising its token, ending it."""

from __future__ import annotations

from datetime import datetime, timedelta

from flotilla_common.db.models.admin_api import LoginSession, User
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.tokens import hash_token, new_token
from admin_api.domain.viewer import Viewer
from admin_api.errors import Unauthenticated
from admin_api.store import login_sessions, users

BAD_TOKEN = "Authentication required"  # noqa: S105 - a message, not a password
TOUCH_AFTER = timedelta(minutes=1)  # a session's last use is written at most this often


async def open_session(session: AsyncSession, user: User, *, now: datetime) -> str:
    """Log a user in and return the token, shown this once."""
    token = new_token()
    assert user.id is not None  # noqa: S101 - a stored user
    session.add(LoginSession(user_id=user.id, token_hash=hash_token(token), created_at=now, accessed_at=now))
    await session.flush()
    return token


async def authenticate(
    session: AsyncSession, token: str, *, now: datetime, lifetime_seconds: int, prolong: bool = True
) -> Viewer:
    """Return whose token this is; a use prolongs the login, unless the server only looks whether it still holds.

    Raises:
        Unauthenticated: nobody's, or not used for too long (tokens of API-only users never end).

    """
    found = await login_sessions.find(session, hash_token(token))
    if found is None:
        raise Unauthenticated(BAD_TOKEN)
    login, user = found
    if not user.api_only and now - login.accessed_at > timedelta(seconds=lifetime_seconds):
        raise Unauthenticated(BAD_TOKEN)
    is_due = prolong and now - login.accessed_at > TOUCH_AFTER
    if is_due and not await login_sessions.touch(session, login.id or 0, now):
        raise Unauthenticated(BAD_TOKEN)
    return await viewer_of(session, user, session_id=login.id or 0)


async def viewer_of(session: AsyncSession, user: User, *, session_id: int = 0) -> Viewer:
    """Return a stored user as the one who asks."""
    assert user.id is not None  # noqa: S101 - a stored user
    return Viewer(
        user_id=user.id,
        name=user.name,
        email=user.email,
        global_role=user.global_role,
        team_roles={} if user.global_role else await users.team_roles(session, user.id),
        session_id=session_id,
        api_only=user.api_only,
        must_reset_password=user.force_password_reset,
    )

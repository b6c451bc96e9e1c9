"""Logging in with e-mail and password."""

from __future__ import annotations

from datetime import datetime

from flotilla_common.db.models.admin_api import User
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import sessions
from admin_api.domain.activities import record
from admin_api.domain.passwords import Passwords
from admin_api.store import users

FAILED = "Authentication failed"


async def log_in(
    session: AsyncSession, passwords: Passwords, email: str, password: str, *, now: datetime, public_ip: str
) -> tuple[User, str] | None:
    """Return the user and a new token; None where the pair is wrong, which takes as long and is recorded, too."""
    user = await users.find_by_email(session, email)
    stored = None if user is None or user.sso_enabled else user.password_hash
    matches = await passwords.matches(stored, password)
    if user is None or stored is None or not matches:
        await record(session, None, "user_failed_login", {"email": email.lower()[:320], "public_ip": public_ip})
        return None
    await record(session, await sessions.viewer_of(session, user), "user_logged_in", {"public_ip": public_ip})
    return user, await sessions.open_session(session, user, now=now)

"""Users' own passwords: changing one, being made to, and making somebody."""

from __future__ import annotations

from datetime import datetime

from flotilla_common.db.models.admin_api import User
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.passwords import Passwords, check_strength
from admin_api.errors import Forbidden, InvalidArgument
from admin_api.store import login_sessions

REUSED = "Cannot reuse old password"


async def change(passwords: Passwords, user: User, old: str, new: str, *, now: datetime) -> None:
    """Change one's password; logins stay. The order of the checks is what clients see.

    Raises:
        InvalidArgument: what is wrong with one of the two.

    """
    for name, value in (("old_password", old), ("new_password", new)):
        if not value:
            raise InvalidArgument(name, f"{name.replace('_', ' ').capitalize()} cannot be empty")
    check_strength(new, "new_password")
    _refuse_sso(user)
    if await passwords.matches(user.password_hash, new):
        raise InvalidArgument("new_password", REUSED)
    if not await passwords.matches(user.password_hash, old):
        raise InvalidArgument("old_password", "old password does not match")
    user.password_hash = await passwords.hash(new)
    user.updated_at = now


async def perform_required_reset(passwords: Passwords, user: User, new: str, *, now: datetime) -> None:
    """Choose the password that the user has to.

    Raises:
        Forbidden: nobody asked for that.
        InvalidArgument: it is too weak, or the old one.

    """
    if not user.force_password_reset:
        raise Forbidden
    _refuse_sso(user)
    check_strength(new, "new_password")
    if await passwords.matches(user.password_hash, new):
        raise InvalidArgument("new_password", REUSED)
    user.password_hash = await passwords.hash(new)
    user.force_password_reset = False
    user.updated_at = now


async def require_reset(session: AsyncSession, user: User, *, require: bool, now: datetime) -> None:
    """Make a user choose a new password at the next login, which ends the present ones; or take that back.

    Raises:
        InvalidArgument: the user has none.

    """
    if require:
        _refuse_sso(user)
        await login_sessions.remove_of_user(session, user.id or 0)
    user.force_password_reset = require
    user.updated_at = now


def _refuse_sso(user: User) -> None:
    if user.sso_enabled:
        raise InvalidArgument("new_password", "password changes are not allowed for single sign-on users")

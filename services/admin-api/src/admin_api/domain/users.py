"""Users: creating, changing, removing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.db.models.admin_api import User
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import names, role_changes, roles, sessions
from admin_api.domain.activities import record
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any, is_allowed
from admin_api.domain.passwords import Passwords, check_strength
from admin_api.domain.roles import Roles
from admin_api.domain.viewer import Viewer
from admin_api.errors import AlreadyExists, Forbidden, InvalidArgument, Missing, PermissionDenied
from admin_api.store import login_sessions, users
from admin_api.store.json_columns import put

EMAIL = re.compile(r"[^@\s\x00]+@[^@\s\x00]+")


@dataclass(frozen=True)
class NewUser:
    """What is told about a new user."""

    name: str
    email: str
    password: str
    roles: Roles
    sso_enabled: bool = False
    mfa_enabled: bool = False
    api_only: bool = False
    force_password_reset: bool = True


@dataclass(frozen=True)
class UserChange:
    """What shall change of a user; None means that it stays."""

    name: str | None = None
    email: str | None = None
    position: str | None = None
    password: str | None = None
    new_password: str | None = None
    sso_enabled: bool | None = None
    mfa_enabled: bool | None = None
    api_only: bool | None = None
    settings: dict[str, Any] | None = None
    roles: Roles | None = None


async def create(
    session: AsyncSession, viewer: Viewer, passwords: Passwords, new: NewUser, *, now: datetime
) -> tuple[User, str | None]:
    """Create a user; API-only ones get a token, shown this once.

    Raises:
        Forbidden, InvalidArgument, NumberedError, AlreadyExists: see the REST API reference, users.

    """
    authorize_any(viewer, Action.WRITE_USER)
    _check_new(new)
    await roles.check(session, new.roles, api_only=new.api_only)
    roles.authorize_giving(viewer, new.roles)
    await _check_address(session, new.email)
    user = User(
        name=new.name.strip(),
        email=normal_email(new.email),
        password_hash=None if new.sso_enabled else await passwords.hash(new.password),
        sso_enabled=new.sso_enabled,
        mfa_enabled=new.mfa_enabled,
        api_only=new.api_only,
        force_password_reset=new.force_password_reset and not new.sso_enabled and not new.api_only,
        settings={},
    )
    session.add(user)
    await session.flush()
    await record(session, viewer, "created_user", role_changes.about(user))
    await role_changes.give(session, viewer, user, new.roles)
    token = await sessions.open_session(session, user, now=now) if new.api_only and not new.sso_enabled else None
    return user, token


def _check_new(new: NewUser) -> None:
    _check_name(new.name)
    check_email(new.email)
    if new.sso_enabled and new.password:
        raise InvalidArgument("password", "not allowed for SSO users")
    if not new.sso_enabled:
        if not new.password:
            raise InvalidArgument("password", "Password cannot be empty")
        check_strength(new.password, "password")


def _check_name(name: str) -> None:
    if not name.strip():
        raise InvalidArgument("name", "Full name cannot be empty")
    names.check_length("name", name)


def normal_email(email: str) -> str:
    """Return an address as it is stored."""
    return email.strip().lower()


def check_email(email: str) -> None:
    """Refuse what is no address.

    Raises:
        InvalidArgument: it is too long, or malformed.

    """
    names.check_length("email", email)
    if not EMAIL.fullmatch(email.strip()):
        raise InvalidArgument("email", "Email must be a valid address")


async def _check_address(session: AsyncSession, email: str) -> None:
    if await users.find_by_email(session, normal_email(email)) is not None:
        raise AlreadyExists("User", normal_email(email))


async def find(session: AsyncSession, viewer: Viewer, user_id: int, action: Action) -> User:
    """Return a user that the viewer may read or write: oneself, and others by the table.

    A team's admin reads whoever shares one of those teams, and writes only users that have no other team.

    Raises:
        Forbidden, Missing: those who may touch no user at all do not learn which ones exist.

    """
    if user_id != viewer.user_id:
        authorize_any(viewer, action)
    user = await users.get(session, user_id)
    if user is None:
        raise Missing("User", user_id)
    if user_id != viewer.user_id:
        await authorize_for(session, viewer, user, action)
    return user


async def authorize_for(session: AsyncSession, viewer: Viewer, user: User, action: Action) -> None:
    """Let those pass who may do this to that user.

    Raises:
        Forbidden: the roles do not reach the user.

    """
    if viewer.global_role is not None:
        authorize(viewer, action)
        return
    team_ids = await users.team_roles(session, user.id or 0)
    allowed = [is_allowed(viewer, action, Subject(team_id)) for team_id in team_ids]
    reaches = any(allowed) if action is Action.READ_USER else bool(allowed) and all(allowed)
    if user.global_role is not None or not reaches:
        raise Forbidden


async def change(
    session: AsyncSession, viewer: Viewer, passwords: Passwords, user: User, wanted: UserChange, *, now: datetime
) -> None:
    """Change a user that the viewer may write.

    Raises:
        InvalidArgument, PermissionDenied, Forbidden, NumberedError, AlreadyExists: see the REST API reference, users.

    """
    if user.id == viewer.user_id:
        await _check_current_password(passwords, user, wanted)
    await _change_login(session, viewer, passwords, user, wanted)
    if wanted.name is not None:
        _check_name(wanted.name)
        user.name = wanted.name.strip()
    if wanted.settings is not None:
        put(user, "settings", wanted.settings)
    for name in ("position", "mfa_enabled"):
        if getattr(wanted, name) is not None:
            setattr(user, name, getattr(wanted, name))
    if wanted.api_only is not None and wanted.api_only != user.api_only:
        if user.id == viewer.user_id:
            raise Forbidden
        user.api_only = wanted.api_only
    if wanted.roles is not None:
        await _change_roles(session, viewer, user, wanted.roles)
    user.updated_at = now


async def _check_current_password(passwords: Passwords, user: User, wanted: UserChange) -> None:
    moves = wanted.email is not None and normal_email(wanted.email) != user.email
    if not moves and wanted.new_password is None:
        return
    if not wanted.password:
        raise InvalidArgument("password", "cannot be empty if email or password is changed")
    if not await passwords.matches(user.password_hash, wanted.password):
        raise PermissionDenied


async def _change_login(
    session: AsyncSession, viewer: Viewer, passwords: Passwords, user: User, wanted: UserChange
) -> None:
    if wanted.email is not None and normal_email(wanted.email) != user.email:
        check_email(wanted.email)
        await _check_address(session, wanted.email)
        user.email = normal_email(wanted.email)
    if wanted.sso_enabled is False and user.sso_enabled and not wanted.new_password:
        raise InvalidArgument("new_password", "required when SSO is turned off")
    if wanted.sso_enabled and not user.sso_enabled:
        await _check_no_lock_out(session, viewer, user)
    if wanted.sso_enabled is not None:
        user.sso_enabled = wanted.sso_enabled
        user.password_hash = None if wanted.sso_enabled else user.password_hash
    if wanted.new_password is not None:
        if user.sso_enabled:
            raise InvalidArgument("new_password", "not allowed for SSO users")
        check_strength(wanted.new_password, "new_password")
        user.password_hash = await passwords.hash(wanted.new_password)
        if user.id != viewer.user_id:
            await login_sessions.remove_of_user(session, user.id or 0)


async def _check_no_lock_out(session: AsyncSession, viewer: Viewer, user: User) -> None:
    """Nobody can log in by single sign-on yet: it may be turned on for later, while somebody can still turn it off."""
    if user.id == viewer.user_id:
        raise InvalidArgument("sso_enabled", "single sign-on is not available yet; you could not log in any more")
    if await role_changes.is_last_admin(session, user):
        raise InvalidArgument("sso_enabled", "single sign-on is not available yet; no admin could log in any more")


async def _change_roles(session: AsyncSession, viewer: Viewer, user: User, wanted: Roles) -> None:
    present = await role_changes.roles_of(session, user)
    if wanted == present:
        return
    if user.id == viewer.user_id:
        authorize(viewer, Action.WRITE_ROLES)
    roles.authorize_giving(viewer, wanted)
    await roles.check(session, wanted, api_only=user.api_only)
    await role_changes.give(session, viewer, user, wanted)


async def remove(session: AsyncSession, viewer: Viewer, user: User) -> None:
    """Remove a user with their logins; what they made stays.

    Raises:
        NumberedError: the user is the last admin.

    """
    await role_changes.keep_an_admin(session, user)
    await record(session, viewer, "deleted_user", role_changes.about(user))
    await session.flush()
    await login_sessions.remove_of_user(session, user.id or 0)
    await users.remove(session, user.id or 0)

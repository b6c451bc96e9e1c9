"""Logging in and out, and whoever is logged in (REST API reference, login)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import Request
from pydantic import Field

from admin_api.deps import DepsDep
from admin_api.domain import login, own_password, sessions
from admin_api.errors import Missing, Unauthenticated
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.client_address import client_address
from admin_api.routes.user_bodies import OneUser, UserWithTeams, available_teams, body_of
from admin_api.routes.versions import Flag, members_router, public_router, resetting_router
from admin_api.settings import parse_rate
from admin_api.store import login_attempts, login_sessions, users

public = public_router("login")
resetting = resetting_router("login")
router = members_router("login")


class LoginBody(ApiBody):
    """E-mail and password."""

    email: str = ""
    password: str = ""


class LoginAnswer(UserWithTeams):
    """Who logged in, and the token for the header `Authorization: Bearer`."""

    token: str


class MeAnswer(UserWithTeams):
    """Who is logged in; `settings` only where asked for."""

    settings: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)


class ChangePasswordBody(ApiBody):
    """The old password and the new one."""

    old_password: str = ""
    new_password: str = ""


class RequiredResetBody(ApiBody):
    """The password that the user has to choose."""

    new_password: str = ""


@public.post("/login")
async def log_in(body: LoginBody, deps: DepsDep, request: Request) -> LoginAnswer:
    """Log in. A failure takes at least a second and never says which of the two was wrong."""
    started = time.monotonic()
    await login_attempts.take(deps.redis, parse_rate(deps.settings.login_rate))
    async with deps.sessions.begin() as session:
        email, address = body.email.strip(), client_address(request)
        made = await login.log_in(session, deps.passwords, email, body.password, now=deps.clock(), public_ip=address)
        if made is not None:
            teams = await available_teams(session, await sessions.viewer_of(session, made[0]))
            return LoginAnswer(user=await body_of(session, made[0]), available_teams=teams, token=made[1])
    await asyncio.sleep(max(0.0, started + deps.settings.failed_login_seconds - time.monotonic()))
    raise Unauthenticated(login.FAILED)


@router.post("/logout")
async def log_out(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """End the calling login."""
    async with deps.sessions.begin() as session:
        await login_sessions.remove(session, viewer.session_id)
    return {}


@router.get("/me")
async def me(deps: DepsDep, viewer: ViewerDep, *, include_ui_settings: Flag = False) -> MeAnswer:
    """Show who is logged in."""
    async with deps.sessions.begin() as session:
        user = await users.get(session, viewer.user_id)
        if user is None:
            raise Missing("User", viewer.user_id)
        settings = (user.settings or {"hidden_host_columns": []}) if include_ui_settings else None
        teams = await available_teams(session, viewer)
        return MeAnswer(user=await body_of(session, user), available_teams=teams, settings=settings)


@router.post("/change_password")
async def change_password(body: ChangePasswordBody, deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Change one's own password."""
    async with deps.sessions.begin() as session:
        user = await users.get(session, viewer.user_id)
        if user is None:
            raise Missing("User", viewer.user_id)
        await own_password.change(deps.passwords, user, body.old_password, body.new_password, now=deps.clock())
    return {}


@resetting.post("/perform_required_password_reset")
async def perform_required_reset(body: RequiredResetBody, deps: DepsDep, viewer: ViewerDep) -> OneUser:
    """Choose the new password that somebody required."""
    async with deps.sessions.begin() as session:
        user = await users.get(session, viewer.user_id)
        if user is None:
            raise Missing("User", viewer.user_id)
        await own_password.perform_required_reset(deps.passwords, user, body.new_password, now=deps.clock())
        return OneUser(user=await body_of(session, user))

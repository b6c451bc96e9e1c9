"""Users (REST API reference, users)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from admin_api.deps import DepsDep
from admin_api.domain import own_password, role_spec, sessions, users
from admin_api.domain.authorize import GLOBAL, Action, Subject, authorize
from admin_api.domain.role_spec import RoleSpec
from admin_api.domain.users import NewUser, UserChange
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.list_options import ListOptionsDep
from admin_api.routes.user_bodies import (
    OneUser,
    RoleOnTeam,
    UserBody,
    UserWithTeams,
    available_teams,
    bodies_of,
    body_of,
    roles_from,
)
from admin_api.routes.versions import Flag, Id, members_router
from admin_api.store import users as stored

router = members_router("users")


class UserList(BaseModel):
    """Users."""

    users: list[UserBody]


class NewUserBody(ApiBody):
    """A new user, with a password or single sign-on, a global role or roles on teams."""

    name: str = ""
    email: str = ""
    password: str = ""
    sso_enabled: bool = False
    mfa_enabled: bool = False
    api_only: bool = False
    global_role: str | None = None
    teams: list[RoleOnTeam] | None = None
    admin_forced_password_reset: bool = True


class NewUserAnswer(OneUser):
    """The new user; `token` only for API-only ones, only here."""

    token: str = Field(default="", exclude_if=lambda value: not value)


class UserChangeBody(ApiBody):
    """What shall change."""

    name: str | None = None
    email: str | None = None
    position: str | None = None
    password: str | None = None
    new_password: str | None = None
    sso_enabled: bool | None = None
    mfa_enabled: bool | None = None
    api_only: bool | None = None
    settings: dict[str, Any] | None = None
    global_role: str | None = None
    teams: list[RoleOnTeam] | None = None


class RequireBody(ApiBody):
    """Whether the user has to choose a new password."""

    require: bool = False


class RoleSpecs(ApiBody):
    """Roles by e-mail address."""

    roles: dict[str, RoleSpec] = {}


class RoleSpecBody(ApiBody):
    """What the command line applies."""

    spec: RoleSpecs = RoleSpecs()


@router.get("/users")
async def list_users(
    deps: DepsDep, viewer: ViewerDep, options: ListOptionsDep, team_id: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
) -> UserList:
    """List users; a team's admin has to name the team."""
    authorize(viewer, Action.LIST_USERS, Subject(team_id or None))
    async with deps.sessions.begin() as session:
        return UserList(users=await bodies_of(session, await stored.page(session, options, team_id=team_id or None)))


@router.post("/users/admin")
async def create_user(body: NewUserBody, deps: DepsDep, viewer: ViewerDep) -> NewUserAnswer:
    """Create a user."""
    fields = body.model_dump(exclude={"global_role", "teams", "admin_forced_password_reset"})
    roles = roles_from(body.global_role, body.teams)
    new = NewUser(**fields, roles=roles, force_password_reset=body.admin_forced_password_reset)
    async with deps.sessions.begin() as session:
        user, token = await users.create(session, viewer, deps.passwords, new, now=deps.clock())
        return NewUserAnswer(user=await body_of(session, user), token=token or "")


@router.get("/users/{user_id:int}")
async def get_user(user_id: Id, deps: DepsDep, viewer: ViewerDep) -> UserWithTeams:
    """Show a user and the teams they can see."""
    async with deps.sessions.begin() as session:
        user = await users.find(session, viewer, user_id, Action.READ_USER)
        teams = await available_teams(session, await sessions.viewer_of(session, user))
        return UserWithTeams(user=await body_of(session, user), available_teams=teams)


@router.patch("/users/{user_id:int}")
async def change_user(user_id: Id, body: UserChangeBody, deps: DepsDep, viewer: ViewerDep) -> OneUser:
    """Change a user."""
    wanted = _change(body)
    async with deps.sessions.begin() as session:
        user = await users.find(session, viewer, user_id, Action.WRITE_USER)
        await users.change(session, viewer, deps.passwords, user, wanted, now=deps.clock())
        return OneUser(user=await body_of(session, user))


@router.delete("/users/{user_id:int}")
async def delete_user(user_id: Id, deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Remove a user."""
    async with deps.sessions.begin() as session:
        user = await users.find(session, viewer, user_id, Action.WRITE_USER)
        await users.authorize_for(session, viewer, user, Action.WRITE_USER)
        await users.remove(session, viewer, user)
    return {}


@router.post("/users/{user_id:int}/require_password_reset")
async def require_password_reset(user_id: Id, body: RequireBody, deps: DepsDep, viewer: ViewerDep) -> OneUser:
    """Make a user choose a new password, or take that back."""
    async with deps.sessions.begin() as session:
        user = await users.find(session, viewer, user_id, Action.WRITE_USER)
        await users.authorize_for(session, viewer, user, Action.WRITE_USER)
        await own_password.require_reset(session, user, require=body.require, now=deps.clock())
        return OneUser(user=await body_of(session, user))


@router.post("/users/roles/spec")
async def apply_roles(body: RoleSpecBody, deps: DepsDep, viewer: ViewerDep, dry_run: Flag = False) -> dict[str, Any]:
    """Give many users their roles; a dry run only says what is wrong."""
    authorize(viewer, Action.WRITE_ROLES, GLOBAL)
    async with deps.sessions.begin() as session:
        await role_spec.apply(session, viewer, body.spec.roles, now=deps.clock())
        if dry_run:
            await session.rollback()
    return {}


def _change(body: UserChangeBody) -> UserChange:
    if body.global_role and body.teams:
        raise InvalidArgument("teams", "may not be specified with global_role")
    given = bool(body.global_role) or body.teams is not None
    fields = body.model_dump(exclude={"global_role", "teams"})
    return UserChange(**fields, roles=roles_from(body.global_role, body.teams) if given else None)

"""Users and their teams as people see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flotilla_common.db.models.admin_api import Team, User
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.authorize import Action, visible_team_ids
from admin_api.domain.roles import Roles
from admin_api.domain.viewer import Viewer
from admin_api.routes.bodies import ApiBody
from admin_api.routes.envelope import Time
from admin_api.store import teams, users


class TeamOfUser(BaseModel):
    """A team inside a user: clients use id, name and role."""

    id: int
    created_at: Time
    name: str
    description: str
    user_count: int = 0
    host_count: int = 0
    role: str
    agent_options: None = None
    webhook_settings: dict[str, Any] = {}
    integrations: dict[str, Any] = {}
    features: dict[str, Any] = {}
    mdm: dict[str, Any] = {}


class UserBody(BaseModel):
    """A user; `role` is there only in lists of a team's users."""

    id: int
    created_at: Time
    updated_at: Time
    name: str
    email: str
    force_password_reset: bool
    gravatar_url: str
    sso_enabled: bool
    mfa_enabled: bool
    global_role: str | None
    api_only: bool
    position: str = Field(default="", exclude_if=lambda value: not value)
    role: str = Field(default="", exclude_if=lambda value: not value)
    teams: list[TeamOfUser]


class TeamSummary(BaseModel):
    """A team to choose from."""

    id: int
    name: str
    description: str


class OneUser(BaseModel):
    """A user."""

    user: UserBody


class UserWithTeams(OneUser):
    """A user and the teams they can see."""

    available_teams: list[TeamSummary]


class RoleOnTeam(ApiBody):
    """A role to be given on a team."""

    id: int
    role: str = ""


async def bodies_of(session: AsyncSession, rows: Sequence[User], *, role_on: int | None = None) -> list[UserBody]:
    """Return users with their teams; `role_on` shows each one's role on that team."""
    found = await teams_of(session, rows)
    return [_body(row, found.get(row.id or 0, []), role_on) for row in rows]


async def teams_of(session: AsyncSession, rows: Iterable[User]) -> dict[int, list[tuple[Team, str]]]:
    """Return teams and roles by user."""
    return await users.teams_by_user(session, [row.id or 0 for row in rows])


async def body_of(session: AsyncSession, user: User) -> UserBody:
    """Return one user with their teams."""
    await session.flush()
    await session.refresh(user)
    [body] = await bodies_of(session, [user])
    return body


async def available_teams(session: AsyncSession, viewer: Viewer) -> list[TeamSummary]:
    """Return the teams that a viewer can see."""
    rows = await teams.visible(session, visible_team_ids(viewer, Action.LIST_TEAMS))
    return [TeamSummary(id=team.id or 0, name=team.name, description=team.description) for team in rows]


def roles_from(global_role: str | None, given: list[RoleOnTeam] | None) -> Roles:
    """Return roles as the domain knows them."""
    return Roles(global_role or None, {team.id: team.role for team in given or []})


def _body(user: User, member_of: list[tuple[Team, str]], role_on: int | None) -> UserBody:
    roles = {team.id: role for team, role in member_of}
    return UserBody(
        **user.model_dump(include=set(UserBody.model_fields) - {"teams", "role"}),
        role=roles.get(role_on, "") if role_on is not None else "",
        teams=[_team(team, role) for team, role in member_of],
    )


def _team(team: Team, role: str) -> TeamOfUser:
    return TeamOfUser(
        id=team.id or 0, created_at=team.created_at, name=team.name, description=team.description, role=role
    )

"""Roles of many users at once, as the command line applies them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import role_changes, roles
from admin_api.domain.roles import Roles
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest, Missing
from admin_api.store import teams, users


class TeamRoleSpec(BaseModel):
    """A role on a team, which is given by name."""

    model_config = ConfigDict(strict=True, extra="ignore")

    team: str
    role: str


class RoleSpec(BaseModel):
    """One user's roles."""

    model_config = ConfigDict(strict=True, extra="ignore")

    global_role: str | None = None
    teams: list[TeamRoleSpec] | None = None


async def apply(session: AsyncSession, viewer: Viewer, specs: Mapping[str, RoleSpec], *, now: datetime) -> None:
    """Give these users these roles; users that are not named keep theirs.

    Raises:
        Missing: an address is nobody's.
        BadRequest: a team does not exist.
        NumberedError: the roles make no sense, or no admin would remain.

    """
    for email, spec in specs.items():
        user = await users.find_by_email(session, email)
        if user is None:
            raise Missing("User", email)
        wanted = Roles(spec.global_role or None, await _by_team(session, spec.teams or []))
        await roles.check(session, wanted, api_only=user.api_only)
        await role_changes.give(session, viewer, user, wanted)
        user.updated_at = now


async def _by_team(session: AsyncSession, given: list[TeamRoleSpec]) -> dict[int, str]:
    by_team = {}
    for item in given:
        team = await teams.find_by_name(session, item.team)
        if team is None or team.id is None:
            raise BadRequest(f"Team {item.team} was not found in the datastore")
        by_team[team.id] = item.role
    return by_team

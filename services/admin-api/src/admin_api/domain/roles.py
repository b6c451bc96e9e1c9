"""Roles that are given to users: which exist, who may have them, who may give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.authorize import GLOBAL, Action, Subject, authorize
from admin_api.domain.rights import ROLES
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument, NumberedError
from admin_api.store import teams

MISSING_ROLE, NO_ADMIN_LEFT, API_ONLY_ROLE = 1, 2, 4


@dataclass(frozen=True)
class Roles:
    """Either one global role, or one role on each of several teams."""

    global_role: str | None = None
    by_team: Mapping[int, str] = field(default_factory=dict)


async def check(session: AsyncSession, roles: Roles, *, api_only: bool) -> None:
    """Hold roles that shall be given to the rules.

    Raises:
        NumberedError: none is given, or both kinds, one is unknown, or it is only for API-only users.
        InvalidArgument: a team does not exist.

    """
    if roles.global_role and roles.by_team:
        raise NumberedError(MISSING_ROLE, "Cannot specify both Global Role and Team Roles")
    if not roles.global_role and not roles.by_team:
        raise NumberedError(MISSING_ROLE, "either global role or team role needs to be defined")
    if roles.global_role and roles.global_role not in ROLES:
        raise NumberedError(MISSING_ROLE, f"invalid global role: {roles.global_role}")
    check_team_roles(roles.by_team.values(), api_only=api_only)
    if roles.global_role == "gitops" and not api_only:
        raise NumberedError(API_ONLY_ROLE, "role can only be assigned for API-only users")
    known = await teams.existing(session, roles.by_team)
    for team_id in roles.by_team:
        if team_id not in known:
            raise InvalidArgument("teams.id", f"team with id {team_id} does not exist")


def check_team_roles(given: Iterable[str], *, api_only: bool) -> None:
    """Hold team roles to the rules.

    Raises:
        NumberedError: one is unknown, or only for API-only users.

    """
    for role in given:
        if role not in ROLES:
            raise NumberedError(MISSING_ROLE, f"invalid team role: {role}")
        if role == "gitops" and not api_only:
            raise NumberedError(API_ONLY_ROLE, "role can only be assigned for API-only users")


def authorize_giving(viewer: Viewer, roles: Roles) -> None:
    """Let those pass who may give these roles.

    Raises:
        Forbidden: the viewer may not give a global role, or none on one of the teams.

    """
    if roles.global_role:
        authorize(viewer, Action.WRITE_ROLES, GLOBAL)
    for team_id in roles.by_team:
        authorize(viewer, Action.WRITE_ROLES, Subject(team_id))

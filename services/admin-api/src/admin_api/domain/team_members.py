"""Members of a team: added, given another role, taken out by whoever may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from flotilla_common.db.models.admin_api import Team, User
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import role_changes, roles
from admin_api.domain.rights import ROLES
from admin_api.domain.teams import id_of
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.store import teams, users


async def put(
    session: AsyncSession, viewer: Viewer, team: Team, roles_by_user: Mapping[int, str], *, now: datetime
) -> None:
    """Give these users these roles on the team; other members stay.

    Raises:
        InvalidArgument: there is no such user or no such role, or their role is a global one.
        NumberedError: the role is only for API-only users.

    """
    for user_id, role in roles_by_user.items():
        user = await _user(session, user_id)
        if user.global_role is not None:
            raise InvalidArgument("users", f"user {user_id} has a global role")
        if role not in ROLES:
            raise InvalidArgument("users", f"invalid team role: {role}")
        roles.check_team_roles([role], api_only=user.api_only)
        before = await users.team_roles(session, user_id)
        await teams.put_member(session, id_of(team), user_id, role)
        await role_changes.record_teams(session, viewer, user, before, {**before, id_of(team): role})
        user.updated_at = now


async def take_out(
    session: AsyncSession, viewer: Viewer, team: Team, user_ids: Sequence[int], *, now: datetime
) -> None:
    """Take these users out of the team; who is no member changes nothing.

    Raises:
        InvalidArgument: there is no such user.

    """
    for user_id in user_ids:
        user = await _user(session, user_id)
        before = await users.team_roles(session, user_id)
        await teams.remove_member(session, id_of(team), user_id)
        after = {team_id: role for team_id, role in before.items() if team_id != team.id}
        await role_changes.record_teams(session, viewer, user, before, after)
        user.updated_at = now


async def _user(session: AsyncSession, user_id: int) -> User:
    user = await users.get(session, user_id)
    if user is None:
        raise InvalidArgument("users", f"user {user_id} does not exist")
    return user

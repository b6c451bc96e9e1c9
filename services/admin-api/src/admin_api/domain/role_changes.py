"""Giving roles to a stored user, with the activities that tell of it, and never losing the last admin."""

from __future__ import annotations

from collections.abc import Mapping

from flotilla_common.db.models.admin_api import User
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.activities import record
from admin_api.domain.roles import NO_ADMIN_LEFT, Roles
from admin_api.domain.viewer import Viewer
from admin_api.errors import NumberedError
from admin_api.store import teams, users


async def keep_an_admin(session: AsyncSession, user: User) -> None:
    """Refuse to lose the last global admin; no two requests can take away one each.

    Raises:
        NumberedError: the user is the last one.

    """
    if await is_last_admin(session, user):
        raise NumberedError(NO_ADMIN_LEFT, "You need at least one admin")


async def is_last_admin(session: AsyncSession, user: User) -> bool:
    """Tell whether without this user no global admin could log in; until the transaction ends that stays true."""
    return user.global_role == "admin" and await users.lock_global_admins(session) <= {user.id}


async def roles_of(session: AsyncSession, user: User) -> Roles:
    """Return the present roles of a stored user."""
    return Roles(user.global_role, {} if user.global_role else await users.team_roles(session, _id(user)))


async def give(session: AsyncSession, viewer: Viewer, user: User, roles: Roles) -> None:
    """Replace a user's roles; what changed is recorded.

    Raises:
        NumberedError: no admin would remain.

    """
    before = await roles_of(session, user)
    if roles.global_role != "admin":
        await keep_an_admin(session, user)
    user.global_role = roles.global_role or None
    await users.set_team_roles(session, _id(user), roles.by_team)
    await _record_global(session, viewer, user, before.global_role, user.global_role)
    await record_teams(session, viewer, user, before.by_team, roles.by_team)


async def _record_global(
    session: AsyncSession, viewer: Viewer, user: User, before: str | None, after: str | None
) -> None:
    if after == before:
        return
    kind = "changed_user_global_role" if after else "deleted_user_global_role"
    await record(session, viewer, kind, {**about(user), "role": after or before})


async def record_teams(
    session: AsyncSession, viewer: Viewer, user: User, before: Mapping[int, str], after: Mapping[int, str]
) -> None:
    """Write an activity for each team where the role is another now, or gone."""
    names = await teams.existing(session, {*before, *after})
    for team_id in sorted({*before, *after}):
        if before.get(team_id) == after.get(team_id) or team_id not in names:
            continue
        kind = "changed_user_team_role" if team_id in after else "deleted_user_team_role"
        role = after.get(team_id, before.get(team_id))
        details = {**about(user), "role": role, "team_id": team_id, "team_name": names[team_id].name}
        await record(session, viewer, kind, details)


def about(user: User) -> dict[str, object]:
    """Return how activities name a user."""
    return {"user_id": user.id, "user_name": user.name, "user_email": user.email}


def _id(user: User) -> int:
    assert user.id is not None  # noqa: S101 - a stored user
    return user.id

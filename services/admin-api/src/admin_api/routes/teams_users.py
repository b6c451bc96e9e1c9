"""Members of a team (admin API part 8)."""

from __future__ import annotations

from typing import Any

from admin_api.deps import DepsDep
from admin_api.domain import team_members, teams
from admin_api.domain.authorize import Action
from admin_api.domain.team_objects import team_answer
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.host_parameters import Number
from admin_api.routes.list_options import ListOptionsDep
from admin_api.routes.user_bodies import bodies_of
from admin_api.routes.users import UserList
from admin_api.routes.versions import Id, members_router
from admin_api.store import users as user_store

router = members_router("teams")


class MemberBody(ApiBody):
    """A user and the role on the team."""

    id: Number
    role: str = ""


class MembersBody(ApiBody):
    """Users to add, or whose role to change."""

    users: list[MemberBody] = []


class LeaverBody(ApiBody):
    """A user to take out."""

    id: Number


class LeaversBody(ApiBody):
    """Users to take out."""

    users: list[LeaverBody] = []


@router.get("/teams/{team_id:int}/users")
async def list_team_users(deps: DepsDep, viewer: ViewerDep, team_id: Id, options: ListOptionsDep) -> UserList:
    """List a team's members, each with the role there."""
    async with deps.sessions.begin() as session:
        await teams.find(session, viewer, team_id, Action.READ_TEAM)
        rows = await user_store.page(session, options, team_id=team_id)
        return UserList(users=await bodies_of(session, rows, role_on=team_id))


@router.patch("/teams/{team_id:int}/users")
async def put_team_users(deps: DepsDep, viewer: ViewerDep, team_id: Id, body: MembersBody) -> dict[str, Any]:
    """Add members, or change their roles; other members stay."""
    async with deps.sessions.begin() as session:
        team = await teams.find(session, viewer, team_id, Action.WRITE_TEAM_MEMBERS, lock=True)
        roles_by_user = {member.id: member.role for member in body.users}
        await team_members.put(session, viewer, team, roles_by_user, now=deps.clock())
        return await team_answer(session, viewer, deps.secrets_key, team)


@router.delete("/teams/{team_id:int}/users")
async def remove_team_users(deps: DepsDep, viewer: ViewerDep, team_id: Id, body: LeaversBody) -> dict[str, Any]:
    """Take members out."""
    async with deps.sessions.begin() as session:
        team = await teams.find(session, viewer, team_id, Action.WRITE_TEAM_MEMBERS, lock=True)
        await team_members.take_out(session, viewer, team, [member.id for member in body.users], now=deps.clock())
        return await team_answer(session, viewer, deps.secrets_key, team)

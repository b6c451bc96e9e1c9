"""Teams (admin API part 8)."""

from __future__ import annotations

from typing import Any, Literal

from admin_api.deps import DepsDep
from admin_api.domain import team_options, teams
from admin_api.domain.authorize import Action, authorize, visible_team_ids
from admin_api.domain.team_objects import team_answer, team_objects
from admin_api.domain.teams import NewTeam, TeamChange
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody, RawDocument
from admin_api.routes.enroll_secrets import SecretBody
from admin_api.routes.list_options import ListOptionsDep
from admin_api.routes.versions import Flag, Id, members_router
from admin_api.store import teams as team_store

router = members_router("teams")

MergeMode = Literal["replace", "merge"]
"""`replace`: the team's agent options stand alone. `merge`: they say what differs from the global ones (RFC 7396)."""


class CreateBody(ApiBody):
    """A new team; without secrets it gets a random one."""

    name: str | None = None
    description: str = ""
    secrets: list[SecretBody] | None = None
    merge_mode: MergeMode = "replace"

    def team(self) -> NewTeam:
        """Return what the domain knows.

        Raises:
            InvalidArgument: no name was given.

        """
        if self.name is None:
            raise InvalidArgument("name", "missing required argument")
        secrets = None if self.secrets is None else [entry.wanted() for entry in self.secrets]
        return NewTeam(self.name, self.description, secrets or None, self.merge_mode)


class ModifyBody(ApiBody):
    """What shall change; a given block replaces the whole block. Agent options and secrets have their own calls."""

    name: str | None = None
    description: str | None = None
    merge_mode: MergeMode | None = None
    mdm: dict[str, Any] | None = None
    host_expiry_settings: dict[str, Any] | None = None
    webhook_settings: dict[str, Any] | None = None
    integrations: dict[str, Any] | None = None

    def change(self) -> TeamChange:
        """Return what the domain knows."""
        names = ("host_expiry_settings", "webhook_settings", "integrations")
        blocks = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return TeamChange(self.name, self.description, self.merge_mode, self.mdm, blocks)


@router.get("/teams")
async def list_teams(deps: DepsDep, viewer: ViewerDep, options: ListOptionsDep) -> dict[str, Any]:
    """List the teams that the viewer can see."""
    authorize(viewer, Action.LIST_TEAMS)
    async with deps.sessions.begin() as session:
        rows = await team_store.page(session, options, team_ids=visible_team_ids(viewer, Action.LIST_TEAMS))
        return {"teams": await team_objects(session, viewer, deps.secrets_key, rows)}


@router.post("/teams")
async def create_team(deps: DepsDep, viewer: ViewerDep, body: CreateBody) -> dict[str, Any]:
    """Make a team."""
    authorize(viewer, Action.CREATE_TEAM)
    async with deps.sessions.begin() as session:
        team = await teams.create(session, viewer, deps.secrets_key, body.team())
        return await team_answer(session, viewer, deps.secrets_key, team)


@router.get("/teams/{team_id:int}")
async def get_team(deps: DepsDep, viewer: ViewerDep, team_id: Id) -> dict[str, Any]:
    """Show a team."""
    async with deps.sessions.begin() as session:
        team = await teams.find(session, viewer, team_id, Action.READ_TEAM)
        return await team_answer(session, viewer, deps.secrets_key, team)


@router.patch("/teams/{team_id:int}")
async def modify_team(deps: DepsDep, viewer: ViewerDep, team_id: Id, body: ModifyBody) -> dict[str, Any]:
    """Change a team."""
    async with deps.sessions.begin() as session:
        team = await teams.find(session, viewer, team_id, Action.WRITE_TEAM, lock=True)
        await teams.change(session, team, body.change(), now=deps.clock())
        return await team_answer(session, viewer, deps.secrets_key, team)


@router.delete("/teams/{team_id:int}")
async def delete_team(deps: DepsDep, viewer: ViewerDep, team_id: Id) -> dict[str, Any]:
    """Remove a team; its hosts then belong to none."""
    authorize(viewer, Action.CREATE_TEAM)
    async with deps.sessions.begin() as session:
        team = await teams.find(session, viewer, team_id, Action.CREATE_TEAM, lock=True)
        await teams.remove(session, viewer, team)
    return {}


@router.post("/teams/{team_id:int}/agent_options")
async def set_agent_options(
    deps: DepsDep,
    viewer: ViewerDep,
    team_id: Id,
    document: RawDocument,
    force: Flag = False,
    dry_run: Flag = False,
) -> dict[str, Any]:
    """Replace a team's agent options: the whole body is the document."""
    async with deps.sessions.begin() as session:
        team = await teams.find(session, viewer, team_id, Action.WRITE_TEAM, lock=True)
        await team_options.validate(session, team.merge_mode, document, force=force)
        if not dry_run:
            await team_options.store(session, viewer, team, document)
        return await team_answer(session, viewer, deps.secrets_key, team)

"""Teams: who may touch which; making, changing and removing them. Every change leaves its event in the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flotilla_common.contracts.definitions import (
    AgentOptionsChangedV1,
    EnrollSecretsChangedV1,
    QueryChangedV1,
    TeamChangedV1,
)
from flotilla_common.db import outbox
from flotilla_common.db.models.admin_api import Team
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import app_config, enroll_secrets, names, team_blocks
from admin_api.domain.activities import record
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any
from admin_api.domain.secret_limits import WantedSecret
from admin_api.domain.tokens import new_enroll_secret
from admin_api.domain.viewer import Viewer
from admin_api.errors import AlreadyExists, InvalidArgument, Missing
from admin_api.store import app_config as config_store
from admin_api.store import teams

REPLACE, MERGE = "replace", "merge"
RESERVED = ("All teams", "No team")


@dataclass(frozen=True)
class NewTeam:
    """What is told about a new team; `secrets` None: a random one."""

    name: str
    description: str = ""
    secrets: Sequence[WantedSecret] | None = None
    merge_mode: str = REPLACE


@dataclass(frozen=True)
class TeamChange:
    """What shall change of a team; None means that it stays. `blocks` are parts of its document, as sent."""

    name: str | None = None
    description: str | None = None
    merge_mode: str | None = None
    mdm: object = None
    blocks: dict[str, Any] = field(default_factory=dict)


async def find(session: AsyncSession, viewer: Viewer, team_id: int, action: Action, *, lock: bool = False) -> Team:
    """Return a team to which the viewer may do this; with `lock` nobody else changes it meanwhile.

    Raises:
        Forbidden, Missing: those who may do this to no team at all do not learn which ones exist.

    """
    authorize_any(viewer, action)
    team = await teams.get(session, team_id, lock=lock)
    if team is None:
        raise Missing("Team", team_id)
    authorize(viewer, action, Subject(team_id))
    return team


async def create(session: AsyncSession, viewer: Viewer, key: bytes, new: NewTeam) -> Team:
    """Make a team. It starts with the installation's features and, in mode `replace`, a copy of its agent options.

    In mode `merge` it states nothing yet, so that all of the installation's options go on to reach its hosts.

    Raises:
        Forbidden, InvalidArgument, AlreadyExists: see the REST API reference, teams.

    """
    authorize(viewer, Action.CREATE_TEAM)
    name = await free_name(session, new.name)
    check_mode(new.merge_mode)
    config = await config_store.get(session)
    team = Team(
        name=name,
        description=new.description,
        merge_mode=new.merge_mode,
        agent_options={} if new.merge_mode == MERGE else config.agent_options,
        document=team_blocks.new_document(app_config.complete(config)["features"]),
    )
    session.add(team)
    await session.flush()
    await session.refresh(team)
    secrets = [WantedSecret(new_enroll_secret())] if new.secrets is None else new.secrets
    await enroll_secrets.replace(session, key, team.id, secrets)
    await record(session, viewer, "created_team", about(team))
    await outbox.add(session, TeamChangedV1(team_id=id_of(team)))
    return team


async def free_name(session: AsyncSession, name: str, own_id: int | None = None) -> str:
    """Return a name as it is stored.

    Raises:
        InvalidArgument: there is none, or it is too long or reserved.
        AlreadyExists: another team has it.

    """
    name = names.normal(name)
    if not name:
        raise InvalidArgument("name", "may not be empty")
    names.check_length("name", name)
    for reserved in RESERVED:
        if name.lower() == reserved.lower():
            raise InvalidArgument("name", f'"{reserved}" is a reserved team name')
    other = await teams.find_by_name(session, name)
    if other is not None and other.id != own_id:
        raise AlreadyExists("Team", name)
    return name


def check_mode(mode: str) -> None:
    """Hold a merge mode to the rules.

    Raises:
        InvalidArgument: there is no such mode.

    """
    if mode not in {REPLACE, MERGE}:
        raise InvalidArgument("merge_mode", f'must be "{REPLACE}" or "{MERGE}"')


async def change(session: AsyncSession, team: Team, wanted: TeamChange, *, now: datetime) -> None:
    """Change a team that the viewer may write.

    Raises:
        InvalidArgument, StrictBodyError, AlreadyExists: see the REST API reference, teams.

    """
    if wanted.name is not None:
        team.name = await free_name(session, wanted.name, team.id)
    if wanted.description is not None:
        team.description = wanted.description
    team_blocks.refuse_mdm(wanted.mdm)
    if wanted.blocks:
        team.document = team_blocks.replace_blocks(team.document, wanted.blocks)
    if wanted.merge_mode is not None:
        await set_mode(session, team, wanted.merge_mode)
    await touch(session, team, now=now)


async def set_mode(session: AsyncSession, team: Team, mode: str) -> None:
    """Choose how the team's agent options and the installation's go together; the document itself stays.

    Raises:
        InvalidArgument: there is no such mode.

    """
    check_mode(mode)
    if mode != team.merge_mode:
        team.merge_mode = mode
        await outbox.add(session, AgentOptionsChangedV1(team_id=id_of(team)))


async def touch(session: AsyncSession, team: Team, *, now: datetime) -> None:
    """Store a changed team and tell of it."""
    team.updated_at = now
    await session.flush()
    await outbox.add(session, TeamChangedV1(team_id=id_of(team)))


async def remove(session: AsyncSession, viewer: Viewer, team: Team) -> None:
    """Remove a team with its members, secrets and queries. Inventory moves its hosts when it hears of that."""
    team_id = id_of(team)
    await record(session, viewer, "deleted_team", about(team))
    session.expunge(team)
    query_ids = await teams.remove(session, team_id)
    removed = [QueryChangedV1(query_id=query_id, team_id=team_id, deleted=True) for query_id in query_ids]
    gone = TeamChangedV1(team_id=team_id, deleted=True)
    await outbox.add(session, *removed, EnrollSecretsChangedV1(team_id=team_id), gone)


def about(team: Team) -> dict[str, object]:
    """Return how activities name a team."""
    return {"team_id": team.id, "team_name": team.name}


def id_of(team: Team) -> int:
    """Return a stored team's id."""
    assert team.id is not None  # noqa: S101 - a stored team
    return team.id

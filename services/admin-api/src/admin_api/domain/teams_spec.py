"""Team specs, as the command line applies them (admin API 8.3): what a spec leaves out stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.db.models.admin_api import Team
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import enroll_secrets, names, secret_limits, team_blocks, team_options, teams
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any
from admin_api.domain.config_blocks import (
    Block,
    FailingPoliciesWebhook,
    Features,
    HostExpirySettings,
    HostStatusWebhook,
)
from admin_api.domain.strict_merge import read
from admin_api.domain.team_blocks import TeamIntegrations
from admin_api.domain.teams import NewTeam
from admin_api.domain.viewer import Viewer
from admin_api.errors import AlreadyExists, InvalidArgument
from admin_api.store import teams as team_store


class SpecSecret(Block):
    """A secret with its limits; `created_at`, `team_id` and `uses` are what a read printed, and mean nothing."""

    secret: str
    expires_at: str | None = None
    max_uses: int | None = None
    allowed_networks: list[str] | None = None
    created_at: str = ""
    team_id: int | None = None
    uses: int = 0


class SpecWebhooks(Block):
    """Those that are given replace the stored ones."""

    host_status_webhook: HostStatusWebhook | None = None
    failing_policies_webhook: FailingPoliciesWebhook | None = None


class TeamSpec(Block):
    """One team. Which members were given is in `model_fields_set`; null counts only where a field can be null."""

    name: str = ""
    gitops_filename: str | None = None
    agent_options: Any = None
    merge_mode: str = teams.REPLACE
    features: Features = Features()
    secrets: list[SpecSecret] = Field(default_factory=list)
    host_expiry_settings: HostExpirySettings = HostExpirySettings()
    webhook_settings: SpecWebhooks = SpecWebhooks()
    integrations: TeamIntegrations = TeamIntegrations()
    mdm: dict[str, Any] = Field(default_factory=dict)
    scripts: list[str] | None = None
    software: Any = None


@dataclass(frozen=True)
class ApplyOptions:
    """The switches of POST /spec/teams; a dry run is the caller's to roll back."""

    force: bool = False
    overwrite: bool = False


def parse(document: dict[str, Any]) -> TeamSpec:
    """Read one spec.

    Raises:
        StrictBodyError: an unknown key anywhere, or a value of a wrong type.

    """
    return read(TeamSpec, document)


async def apply(
    session: AsyncSession, viewer: Viewer, key: bytes, spec: TeamSpec, options: ApplyOptions, *, now: datetime
) -> tuple[Team, bool]:
    """Create or change the team that a spec names; return it and whether it is new.

    Raises:
        Forbidden: the viewer may not create teams, or not change this one.
        InvalidArgument, StrictBodyError, AlreadyExists: the spec makes no sense.

    """
    authorize_any(viewer, Action.WRITE_TEAM)
    if not spec.name.strip():
        raise InvalidArgument("name", "missing required argument")
    team = await _find(session, spec)
    if team is None:
        authorize(viewer, Action.CREATE_TEAM)
        given = [secret_limits.wanted(entry) for entry in spec.secrets] if "secrets" in spec.model_fields_set else None
        team = await teams.create(session, viewer, key, NewTeam(spec.name, "", given, spec.merge_mode))
        await _change(session, viewer, team, spec, options, now=now)
        return team, True
    authorize(viewer, Action.WRITE_TEAM, Subject(team.id))
    if "secrets" in spec.model_fields_set:
        await enroll_secrets.change(session, viewer, key, team, [secret_limits.wanted(entry) for entry in spec.secrets])
    await _change(session, viewer, team, spec, options, now=now)
    return team, False


async def _find(session: AsyncSession, spec: TeamSpec) -> Team | None:
    """Return the team that the file owns, else the one of this name."""
    named = await team_store.find_by_name(session, names.normal(spec.name))
    owned = await team_store.find_by_filename(session, spec.gitops_filename) if spec.gitops_filename else None
    if owned is not None and named is not None and owned.id != named.id:
        raise AlreadyExists("Team", spec.name)
    found = owned or named
    return None if found is None else await team_store.get(session, teams.id_of(found), lock=True)


async def _change(
    session: AsyncSession, viewer: Viewer, team: Team, spec: TeamSpec, options: ApplyOptions, *, now: datetime
) -> None:
    team.name = await teams.free_name(session, spec.name, team.id)
    given = spec.model_fields_set
    team_blocks.refuse_mdm(spec.mdm)
    team.document = _document(team.document, spec, overwrite=options.overwrite)
    if "merge_mode" in given:
        await teams.set_mode(session, team, spec.merge_mode)
    if "agent_options" in given:
        await team_options.validate(session, team.merge_mode, spec.agent_options, force=options.force)
        if spec.agent_options is None:
            await team_options.clear(session, viewer, team)
        else:
            await team_options.store(session, viewer, team, spec.agent_options)
    await teams.touch(session, team, now=now)


def _document(before: dict[str, Any], spec: TeamSpec, *, overwrite: bool) -> dict[str, Any]:
    after = team_blocks.complete(before)
    given = spec.model_dump(include=spec.model_fields_set & after.keys(), exclude={"webhook_settings"})
    if overwrite and "features" not in given:
        given["features"] = Features().model_dump()
    after |= given
    webhooks = spec.webhook_settings
    named = {name: getattr(webhooks, name) for name in webhooks.model_fields_set}
    after["webhook_settings"] |= {
        name: webhook if webhook is None else webhook.model_dump()
        for name, webhook in named.items()
        if webhook is not None or name == "host_status_webhook"
    }
    team_blocks.check(after)
    return after

"""The app config: what is stored, what people see of it, and what a change must satisfy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flotilla_common.contracts.definitions import AgentOptionsChangedV1, AppConfigChangedV1
from flotilla_common.db import outbox
from flotilla_common.db.models.admin_api import AppConfig
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import agent_options, budgets, config_fixed, config_masks, sql_policy
from admin_api.domain.activities import record
from admin_api.domain.authorize import Action, is_allowed
from admin_api.domain.config_blocks import Document, Features, LiveQueryBudgets, LiveQueryPolicy, SsoSettings
from admin_api.domain.json_types import same
from admin_api.domain.rights import grant
from admin_api.domain.strict_merge import merged, parsed
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.store import app_config as stored
from admin_api.store.json_columns import put

ABSENT = object()


@dataclass(frozen=True)
class PatchOptions:
    """The switches of PATCH /config."""

    force: bool = False
    dry_run: bool = False
    overwrite: bool = False


def initial_document(org_name: str, org_logo_url: str, server_url: str) -> dict[str, Any]:
    """Return the document of a new installation."""
    document = Document().model_dump()
    document["org_info"] |= {"org_name": org_name, "org_logo_url": org_logo_url}
    document["server_settings"]["server_url"] = server_url
    return document


def complete(row: AppConfig) -> dict[str, Any]:
    """Return the stored document with the defaults of whatever is newer than it."""
    return merged(Document, Document().model_dump(), row.document).model_dump()


def live_query_policy(row: AppConfig) -> dict[str, Any]:
    """Return the policy alone, as `complete` would: every live query asks for it."""
    return merged(
        LiveQueryPolicy, LiveQueryPolicy().model_dump(), row.document.get("live_query_policy", {})
    ).model_dump()


def live_query_budgets(row: AppConfig) -> dict[str, Any]:
    """Return the budgets alone, as `complete` would: every live query asks for them."""
    return merged(
        LiveQueryBudgets, LiveQueryBudgets().model_dump(), row.document.get("live_query_budgets", {})
    ).model_dump()


def shown_to(viewer: Viewer, row: AppConfig) -> dict[str, Any]:
    """Return the settable part as this viewer may see it: secrets masked, admins' blocks null for others."""
    document = {**config_masks.mask(complete(row)), "agent_options": row.agent_options, "mdm": config_fixed.MDM}
    if not is_allowed(viewer, Action.READ_AGENT_OPTIONS):
        document["agent_options"] = None
    if not _may_see_mail(viewer):
        document |= {"smtp_settings": None, "sso_settings": None}
    return document


def _may_see_mail(viewer: Viewer) -> bool:
    roles = [("global", viewer.global_role or "")] + [("team", role) for role in viewer.team_roles.values()]
    return any(grant(Action.READ_MAIL_AND_SSO, role, of_no_team=True) == "Y" for role in roles)


async def change(session: AsyncSession, viewer: Viewer, patch: dict[str, Any], options: PatchOptions) -> AppConfig:
    """Merge a patch into the config, unless it is a dry run; return the row.

    Raises:
        StrictBodyError: unknown keys, wrong types, bad agent options.
        InvalidArgument: values that make no sense.

    """
    row = await stored.get(session, lock=True)
    before = complete(row)
    patch = {key.lower(): value for key, value in patch.items() if key.lower() not in config_fixed.SERVER_ONLY}
    config_fixed.refuse_mdm(patch.pop("mdm", None))
    options_given = patch.pop("agent_options", ABSENT)
    if options_given is not ABSENT:
        await agent_options.validate(session, options_given, force=options.force)
    after = config_masks.unmask(_merged(before, patch, overwrite=options.overwrite), before)
    _check_org_name(before, after)
    check(after)
    if not options.dry_run:
        await _store(session, viewer, row, before, after)
        if options_given is not ABSENT:
            await _store_agent_options(session, viewer, row, options_given)
    return row


def _merged(before: dict[str, Any], patch: dict[str, Any], *, overwrite: bool) -> dict[str, Any]:
    if overwrite:
        reset = {"features": Features().model_dump(), "sso_settings": SsoSettings().model_dump()}
        before = before | {name: block for name, block in reset.items() if name not in patch}
    # These two hold people's own names: giving one of them replaces all of it.
    features = patch.get("features")
    if isinstance(features, dict):
        own = {"additional_queries", "detail_query_overrides"} & features.keys()
        before = before | {"features": {k: v for k, v in before["features"].items() if k not in own}}
    return merged(Document, before, patch).model_dump()


async def _store(
    session: AsyncSession, viewer: Viewer, row: AppConfig, before: dict[str, Any], after: dict[str, Any]
) -> None:
    if same(after, before):
        return
    put(row, "document", parsed(Document, after).model_dump())
    await _record_automations(session, viewer, before, after)
    if before["live_query_policy"] != after["live_query_policy"]:
        await record(session, viewer, "edited_live_query_policy", after["live_query_policy"])
    if before["live_query_budgets"] != after["live_query_budgets"]:
        await record(session, viewer, "edited_live_query_budgets", after["live_query_budgets"])
    if before["server_settings"]["live_query_disabled"] != after["server_settings"]["live_query_disabled"]:
        disabled = after["server_settings"]["live_query_disabled"]
        await record(session, viewer, "disabled_live_queries" if disabled else "enabled_live_queries")
    if before["gitops"]["gitops_mode_enabled"] != after["gitops"]["gitops_mode_enabled"]:
        enabled = after["gitops"]["gitops_mode_enabled"]
        await record(session, viewer, "enabled_gitops_mode" if enabled else "disabled_gitops_mode")
    await outbox.add(session, AppConfigChangedV1())


async def _store_agent_options(session: AsyncSession, viewer: Viewer, row: AppConfig, given: Any) -> None:
    if same(given, row.agent_options):
        return
    put(row, "agent_options", given)
    await record(session, viewer, "edited_agent_options", {"global": True, "team_id": None, "team_name": None})
    await outbox.add(session, AgentOptionsChangedV1(team_id=None))


async def _record_automations(
    session: AsyncSession, viewer: Viewer, before: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = before["webhook_settings"]["activities_webhook"], after["webhook_settings"]["activities_webhook"]
    if old == new:
        return
    details = {"webhook_url": new["destination_url"]}
    if not new["enable_activities_webhook"]:
        if old["enable_activities_webhook"]:
            await record(session, viewer, "disabled_activity_automations")
    elif old["enable_activities_webhook"]:
        await record(session, viewer, "edited_activity_automations", details)
    else:
        await record(session, viewer, "enabled_activity_automations", details)


def _check_org_name(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Refuse to take the name away; setup can do without one, and what it stored must be accepted back."""
    name = after["org_info"]["org_name"]
    if not name.strip() and name != before["org_info"]["org_name"]:
        raise InvalidArgument("org_name", "organization name must be present")


def check(document: dict[str, Any]) -> None:
    """Hold a whole document to the rules that cross its keys.

    Raises:
        InvalidArgument: the first one that is broken.

    """
    check_url("server_url", document["server_settings"]["server_url"])
    for kind in ("host", "activity"):
        block = document[f"{kind}_expiry_settings"]
        if block[f"{kind}_expiry_enabled"] and block[f"{kind}_expiry_window"] <= 0:
            raise InvalidArgument(f"{kind}_expiry_window", "must be greater than 0")
    check_webhooks(document["webhook_settings"])
    sql_policy.check(document["live_query_policy"])
    budgets.check(document["live_query_budgets"])
    gitops = document["gitops"]
    if gitops["gitops_mode_enabled"] and urlsplit(gitops["repository_url"]).scheme != "https":
        raise InvalidArgument("gitops.repository_url", "Git repository URL is required when GitOps mode is enabled")


def check_webhooks(webhooks: dict[str, Any]) -> None:
    """Hold webhooks to the rules, of the config or of a team (a webhook may be null there).

    Raises:
        InvalidArgument: one is on without an address, or its numbers make no sense.

    """
    for name, webhook in webhooks.items():
        if not isinstance(webhook, dict):
            continue
        enabled = webhook[f"enable_{name}"]
        if enabled or webhook["destination_url"]:
            check_url("destination_url", webhook["destination_url"])
        if name == "host_status_webhook" and enabled:
            for number in ("host_percentage", "days_count"):
                if webhook[number] <= 0:
                    raise InvalidArgument(number, "must be > 0 to enable the host status webhook")


def check_url(argument: str, value: str) -> None:
    """Refuse what no browser and no client could call.

    Raises:
        InvalidArgument: it is no http(s) URL with a host.

    """
    try:
        address = urlsplit(value)
        usable = address.scheme in {"http", "https"} and bool(address.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise InvalidArgument(argument, "must be an http(s) URL with a host")

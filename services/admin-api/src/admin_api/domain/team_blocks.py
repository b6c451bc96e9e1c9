"""What is stored of a team besides its columns, block by block, with the defaults of a new team (Fleet 4.70)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from admin_api.domain import config_fixed
from admin_api.domain.app_config import check_webhooks
from admin_api.domain.config_blocks import (
    Block,
    FailingPoliciesWebhook,
    Features,
    HostExpirySettings,
    HostStatusWebhook,
)
from admin_api.domain.strict_merge import known, merged, parsed
from admin_api.errors import InvalidArgument


class TeamWebhooks(Block):
    """Where this server posts about a team's hosts."""

    host_status_webhook: HostStatusWebhook | None = None
    failing_policies_webhook: FailingPoliciesWebhook = FailingPoliciesWebhook()


class TeamJira(Block):
    """Which of the installation's Jira projects gets tickets; its token is not repeated here."""

    url: str = ""
    project_key: str = ""
    enable_failing_policies: bool = False


class TeamZendesk(Block):
    """Which of the installation's Zendesk groups gets tickets."""

    url: str = ""
    group_id: int = 0
    enable_failing_policies: bool = False


class TeamCalendar(Block):
    """Whether failing policies make calendar events."""

    enable_calendar_events: bool = False
    webhook_url: str = ""


class TeamIntegrations(Block):
    """Ticket systems and calendars."""

    jira: list[TeamJira] | None = None
    zendesk: list[TeamZendesk] | None = None
    google_calendar: TeamCalendar | None = None
    conditional_access_enabled: bool | None = None


class TeamDocument(Block):
    """All stored blocks; `gitops_filename` says which file owns the team."""

    host_expiry_settings: HostExpirySettings = HostExpirySettings()
    webhook_settings: TeamWebhooks = TeamWebhooks()
    integrations: TeamIntegrations = TeamIntegrations()
    features: Features = Features()
    scripts: list[str] | None = None
    gitops_filename: str | None = None


BLOCKS: dict[str, type[BaseModel]] = {
    "host_expiry_settings": HostExpirySettings,
    "webhook_settings": TeamWebhooks,
    "integrations": TeamIntegrations,
    "features": Features,
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return a stored document with the defaults of whatever is newer than it."""
    return merged(TeamDocument, TeamDocument().model_dump(), document).model_dump()


def new_document(features: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a new team, which begins with the installation's features."""
    return TeamDocument(features=parsed(Features, features)).model_dump()


def replace_blocks(document: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a document in which each given block stands for the one before; unknown keys in it are left out.

    Raises:
        StrictBodyError: a value of a wrong type.
        InvalidArgument: values that make no sense.

    """
    blocks = {name: parsed(BLOCKS[name], known(BLOCKS[name], value)).model_dump() for name, value in given.items()}
    after = complete(document) | blocks
    check(after)
    return after


def check(document: dict[str, Any]) -> None:
    """Hold a whole document to the rules that cross its keys.

    Raises:
        InvalidArgument: the first one that is broken.

    """
    expiry = document["host_expiry_settings"]
    if expiry["host_expiry_enabled"] and expiry["host_expiry_window"] <= 0:
        raise InvalidArgument("host_expiry_window", "must be greater than 0")
    check_webhooks(document["webhook_settings"])


def refuse_mdm(given: object) -> None:
    """Take nothing but what device management, which is off here, has by default.

    Raises:
        InvalidArgument: anything else is set.

    """
    config_fixed.refuse_mdm(given, config_fixed.TEAM_MDM)

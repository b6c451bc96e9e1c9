"""Stream DEFINITIONS: what people define. Published by admin-api alone, through its outbox.

The events name what changed; the state itself is read from the tables of schema `admin_api`, which are never older
than the event. So a repeated or late event does no harm.
"""

from __future__ import annotations

from typing import ClassVar

from flotilla_common.contracts.base import Event


class TeamChangedV1(Event):
    """A team was created, changed or (with `deleted`) removed; its hosts then belong to no team."""

    subject: ClassVar[str] = "definitions.team_changed.v1"

    team_id: int
    deleted: bool = False


class AgentOptionsChangedV1(Event):
    """Agent options, or the way they are merged, changed; `team_id` None means the global ones."""

    subject: ClassVar[str] = "definitions.agent_options_changed.v1"

    team_id: int | None


class QueryChangedV1(Event):
    """A saved query was created, changed or removed; `team_id` None means a global one."""

    subject: ClassVar[str] = "definitions.query_changed.v1"

    query_id: int
    team_id: int | None
    deleted: bool = False


class LabelChangedV1(Event):
    """A label was created, changed or removed."""

    subject: ClassVar[str] = "definitions.label_changed.v1"

    label_id: int
    deleted: bool = False


class EnrollSecretsChangedV1(Event):
    """The set of enroll secrets of a team (None: global) changed."""

    subject: ClassVar[str] = "definitions.enroll_secrets_changed.v1"

    team_id: int | None


class AppConfigChangedV1(Event):
    """The app config changed."""

    subject: ClassVar[str] = "definitions.app_config_changed.v1"

"""The layers of a class: agent options of the installation and of a team, and the scheduled queries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flotilla_common.contracts.plans import RenderPlanV1, class_key

from config_merger.errors import NotAClass

PLATFORM = re.compile(r"[a-z0-9_.-]{0,32}")
SCOPE_LABELS_LIMIT = 256


@dataclass(frozen=True)
class HostClass:
    """Hosts that get the same plan: of one team, of one platform, with the same labels among those that scope."""

    team_id: int | None
    platform: str
    scope_labels: tuple[int, ...]

    @property
    def key(self) -> str:
        """Its key in table and bucket."""
        return class_key(self.team_id, self.platform, self.scope_labels)


def class_of(request: RenderPlanV1) -> HostClass:
    """Return the class that is asked for.

    Raises:
        NotAClass: platform or labels are not what inventory would have written into a record.

    """
    labels = tuple(sorted(set(request.scope_labels)))
    if not PLATFORM.fullmatch(request.platform) or len(labels) > SCOPE_LABELS_LIMIT:
        raise NotAClass(f"platform {request.platform[:40]!r} with {len(labels)} labels")
    return HostClass(request.team_id, request.platform, labels)


@dataclass(frozen=True)
class AgentOptions:
    """A document of agent options and the name of its layer. `present` is False where nobody ever stored one."""

    layer: str
    document: Any = None
    present: bool = False

    @property
    def members(self) -> Mapping[str, Any]:
        """The document's members; of JSON null, or of anything that is no object: none."""
        return self.document if isinstance(self.document, dict) else {}

    def override(self, platform: str) -> tuple[bool, Any]:
        """Return whether the platform, spelled exactly like this, has an override, and the override."""
        platforms = self.platforms
        return platform in platforms, platforms.get(platform)

    @property
    def platforms(self) -> Mapping[str, Any]:
        """The overrides by platform."""
        overrides = self.members.get("overrides")
        platforms = overrides.get("platforms") if isinstance(overrides, dict) else None
        return platforms if isinstance(platforms, dict) else {}


@dataclass(frozen=True)
class TeamOptions:
    """A team's agent options and how they are merged: `replace` or `merge`."""

    options: AgentOptions
    mode: str = "replace"


@dataclass(frozen=True)
class ScheduledQuery:
    """A saved query with an interval; `labels` empty: for all hosts of its team, or of the installation."""

    query_id: int
    team_id: int | None
    name: str
    query: str
    interval_seconds: int
    platform: str = ""
    min_osquery_version: str = ""
    logging: str = "snapshot"
    automations_enabled: bool = False
    discard_data: bool = False
    labels: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Desktop:
    """What people are told on their own computers: who runs this, and where they read what it sees."""

    org_name: str = ""
    org_logo_url: str = ""
    org_logo_url_light_background: str = ""
    contact_url: str = ""
    transparency_url: str = "https://fleetdm.com/transparency"


@dataclass(frozen=True)
class Layers:
    """All that a plan of one class is made of."""

    installation: AgentOptions
    team: TeamOptions | None = None
    queries: Sequence[ScheduledQuery] = field(default_factory=tuple)
    reports_enabled: bool = True
    desktop: Desktop = field(default_factory=Desktop)
    label_ids: Mapping[str, int] = field(default_factory=dict)
    """Name -> id of labels that are part of a class: extensions are scoped by names."""

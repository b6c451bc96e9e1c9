"""A usage report: counts and version numbers, and nothing that a person or a host could have written freely.

Member names are those that the field uses for such reports, where the meaning is the same. Platforms come from a closed
list and versions are numbers with dots, so that no name, address or SQL can be in one, whatever a host says of itself.
The collector checks the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, get_args
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Platform = Literal[
    "darwin", "windows", "chrome", "ios", "ipados", "android", "linux", "ubuntu", "debian", "rhel", "centos", "fedora",
    "sles", "kali", "gentoo", "amzn", "pop", "arch", "linuxmint", "void", "nixos", "endeavouros", "manjaro",
    "opensuse-leap", "opensuse-tumbleweed", "tuxedo", "neon", "other",
]  # fmt: skip
PLATFORMS: frozenset[str] = frozenset(get_args(Platform))
OTHER: Literal["other"] = "other"
MOST_VERSIONS = 50  # per list; rarer ones are counted together as "other"

_VERSION = re.compile(r"(?<!\S)[0-9]{1,5}(?:\.[0-9]{1,5}){0,2}(?![0-9])")

Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Version = Annotated[str, Field(pattern=r"^([0-9]{1,5}(\.[0-9]{1,5}){0,2}|other)$")]


class _Part(BaseModel):
    """Strict types; members that it does not know are dropped."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        serialize_by_alias=True,
    )


class OsVersionCount(_Part):
    """Hosts with one version of an operating system."""

    version: Version
    num_enrolled: Count


class OsqueryVersionCount(_Part):
    """Hosts with one version of osquery."""

    osquery_version: Version
    num_hosts: Count


class UsageReport(_Part):
    """What an installation says of itself."""

    report_id: UUID
    anonymous_identifier: UUID
    built_at: AwareDatetime
    fleet_version: Version
    num_hosts_enrolled: Count
    num_hosts_online: Count = 0
    num_users: Count = 0
    num_weekly_active_users: Count = 0
    num_teams: Count = 0
    num_labels: Count = 0
    num_queries: Count = 0
    num_scheduled_queries: Count = 0
    num_campaigns: Count = 0
    hosts_enrolled_by_operating_system: dict[Platform, Annotated[list[OsVersionCount], Field(max_length=60)]] = {}
    hosts_enrolled_by_osquery_version: Annotated[list[OsqueryVersionCount], Field(max_length=60)] = []


def platform_of(text: str) -> Platform:
    """Return a platform of the closed list."""
    lowered = text.strip().lower()
    return lowered if lowered in PLATFORMS else OTHER  # type: ignore[return-value]


def version_of(text: str) -> str:
    """Return the first number in a text that begins a word, at most three parts of it; `other` when there is none."""
    found = _VERSION.search(text)
    return found.group() if found else OTHER


def common_first(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Add up counts of equal names, most first, with the rare ones beyond MOST_VERSIONS together as `other`."""
    total: Counter[str] = Counter()
    for name, count in counts:
        total[name] += count
    ranked = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    if len(ranked) <= MOST_VERSIONS:
        return ranked
    kept = Counter(dict(ranked[:MOST_VERSIONS]))
    kept[OTHER] += sum(count for _, count in ranked[MOST_VERSIONS:])
    return sorted(kept.items(), key=lambda item: (-item[1], item[0]))

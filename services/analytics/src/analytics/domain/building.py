"""Build a report from real counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from analytics.domain.usage_report import (
    OsqueryVersionCount,
    OsVersionCount,
    Platform,
    UsageReport,
    common_first,
    platform_of,
    version_of,
)
from analytics.store import counts


async def build(session: AsyncSession, installation: UUID, now: datetime) -> UsageReport:
    """Count everything now."""
    hosts = await counts.hosts_by_versions(session)
    queries, scheduled = await counts.queries(session)
    return UsageReport(
        report_id=uuid4(),
        anonymous_identifier=installation,
        built_at=now,
        fleet_version=version_of(version("flotilla-analytics")),
        num_hosts_enrolled=sum(count for *_, count in hosts),
        num_hosts_online=await counts.hosts_online(session, now),
        num_users=await counts.users(session),
        num_weekly_active_users=await counts.active_users(session, now),
        num_teams=await counts.teams(session),
        num_labels=await counts.labels(session),
        num_queries=queries,
        num_scheduled_queries=scheduled,
        num_campaigns=await counts.campaigns(session),
        hosts_enrolled_by_operating_system=by_operating_system(hosts),
        hosts_enrolled_by_osquery_version=by_osquery_version(hosts),
    )


def by_operating_system(hosts: Sequence[tuple[str, str, str, int]]) -> dict[Platform, list[OsVersionCount]]:
    """Group hosts by platform and version of the operating system."""
    found: dict[Platform, list[tuple[str, int]]] = defaultdict(list)
    for platform, os_version, _, count in hosts:
        found[platform_of(platform)].append((version_of(os_version), count))
    return {
        platform: [OsVersionCount(version=name, num_enrolled=count) for name, count in common_first(versions)]
        for platform, versions in sorted(found.items())
    }


def by_osquery_version(hosts: Sequence[tuple[str, str, str, int]]) -> list[OsqueryVersionCount]:
    """Group hosts by version of osquery."""
    versions = common_first((version_of(osquery_version), count) for _, _, osquery_version, count in hosts)
    return [OsqueryVersionCount(osquery_version=name, num_hosts=count) for name, count in versions]

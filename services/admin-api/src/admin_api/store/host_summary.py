"""Totals of the hosts that somebody may see, by state and platform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.db.models.inventory import Host, HostSeen
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store import host_scope

LINUX = frozenset(
    [
        "linux",
        "ubuntu",
        "debian",
        "rhel",
        "centos",
        "sles",
        "kali",
        "gentoo",
        "amzn",
        "pop",
        "arch",
        "linuxmint",
        "void",
        "nixos",
        "endeavouros",
        "manjaro",
        "opensuse-leap",
        "opensuse-tumbleweed",
        "tuxedo",
        "neon",
    ]
)
"""Platforms that count as Linux. Source: the field's platform vocabulary; Fedora reports `rhel`."""


@dataclass(frozen=True)
class HostTotals:
    """Hosts by state. Missing hosts are among the offline ones; new ones are in either."""

    total: int = 0
    online: int = 0
    missing: int = 0
    new: int = 0

    @property
    def offline(self) -> int:
        """Every host that is not online."""
        return self.total - self.online


def of_platform(platform: str) -> ColumnElement[bool]:
    """Hosts of a platform or, for `linux`, of any Linux distribution."""
    if platform == "linux":
        return col(Host.platform).in_(sorted(LINUX))
    return col(Host.platform) == platform


async def totals(session: AsyncSession, where: Sequence[ColumnElement[bool]], now: datetime) -> HostTotals:
    """Count the hosts that satisfy all conditions."""
    statement = (
        select(
            func.count(),
            func.count().filter(host_scope.online(now)),
            func.count().filter(host_scope.missing(now)),
            func.count().filter(host_scope.new(now)),
        )
        .select_from(Host)
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(*where)
    )
    total, online, missing, new = (await session.execute(statement)).one()
    return HostTotals(total, online, missing, new)


async def teams(session: AsyncSession, where: Sequence[ColumnElement[bool]]) -> frozenset[int]:
    """Return the teams of the hosts that satisfy all conditions; hosts without a team are left out."""
    found = await session.scalars(select(col(Host.team_id)).where(*where, col(Host.team_id).is_not(None)).distinct())
    return frozenset(team_id for team_id in found if team_id is not None)


async def platforms(session: AsyncSession, where: Sequence[ColumnElement[bool]]) -> list[tuple[str, int]]:
    """Return (platform, hosts) for every platform that has any, the most frequent first."""
    statement = (
        select(col(Host.platform), func.count())
        .where(*where)
        .group_by(col(Host.platform))
        .order_by(func.count().desc(), col(Host.platform))
    )
    return [(platform, number) for platform, number in await session.execute(statement)]

"""What results say of their hosts, as far as the viewer may see them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from flotilla_common.db.models.inventory import Host
from pyroaring import BitMap64
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store.host_scope import VisibleTeams, display_name, one_of, visible


@dataclass(frozen=True)
class HostInSight:
    """A host of a campaign. The names are None when it was deleted."""

    host_id: int
    hostname: str | None = None
    display_name: str | None = None
    team_id: int | None = None


async def sight_of(session: AsyncSession, teams: VisibleTeams) -> BitMap64 | None:
    """Return the hosts that somebody who sees these teams may see; None: all, deleted ones too."""
    if teams is None:
        return None
    found = await session.execute(select(col(Host.id)).where(visible(teams)))
    return BitMap64([host_id for host_id in found.scalars() if host_id is not None])


async def in_sight(session: AsyncSession, host_ids: Collection[int], teams: VisibleTeams) -> dict[int, HostInSight]:
    """Return those of these hosts that are in these teams; who sees every host sees deleted ones too."""
    statement = select(col(Host.id), col(Host.hostname), display_name(), col(Host.team_id)).where(
        one_of(col(Host.id), host_ids), visible(teams)
    )
    found = {row[0]: HostInSight(row[0], row[1], row[2], row[3]) for row in await session.execute(statement) if row[0]}
    return found if teams is not None else {host_id: HostInSight(host_id) for host_id in host_ids} | found

"""Counts over the schemas that analytics may read. No name, address, SQL or e-mail leaves these statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from flotilla_common.db.models.admin_api import Label, LoginSession, Query, Team, User
from flotilla_common.db.models.inventory import Host, HostSeen, online_clause
from flotilla_common.db.models.live_query import Campaign
from sqlalchemy import distinct, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel, col

ACTIVE_WITHIN = timedelta(days=7)


async def hosts_by_versions(session: AsyncSession) -> Sequence[tuple[str, str, str, int]]:
    """Return (platform, os version, osquery version, hosts), as the hosts said."""
    columns = (col(Host.platform), col(Host.os_version), col(Host.osquery_version))
    rows = await session.execute(select(*columns, func.count()).group_by(*columns))
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def hosts_online(session: AsyncSession, now: datetime) -> int:
    """Return how many hosts are online."""
    statement = (
        select(func.count())
        .select_from(Host)
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(online_clause(now))
    )
    return (await session.execute(statement)).scalar_one()


async def users(session: AsyncSession) -> int:
    """Return how many users there are."""
    return await _rows(session, User)


async def active_users(session: AsyncSession, now: datetime) -> int:
    """Return how many users were active within a week."""
    statement = select(func.count(distinct(col(LoginSession.user_id)))).where(
        col(LoginSession.accessed_at) > now - ACTIVE_WITHIN
    )
    return (await session.execute(statement)).scalar_one()


async def teams(session: AsyncSession) -> int:
    """Return how many teams there are."""
    return await _rows(session, Team)


async def labels(session: AsyncSession) -> int:
    """Return how many labels people made."""
    statement = select(func.count()).where(col(Label.label_type) == "regular")
    return (await session.execute(statement)).scalar_one()


async def queries(session: AsyncSession) -> tuple[int, int]:
    """Return how many saved queries there are, and how many of them are scheduled."""
    scheduled = func.count().filter(col(Query.interval_seconds) > 0)
    row = (await session.execute(select(func.count(), scheduled).where(col(Query.saved)))).one()
    return row[0], row[1]


async def campaigns(session: AsyncSession) -> int:
    """Return how many live queries were ever started."""
    return await _rows(session, Campaign)


async def _rows(session: AsyncSession, model: type[SQLModel]) -> int:
    return (await session.execute(select(func.count()).select_from(model))).scalar_one()

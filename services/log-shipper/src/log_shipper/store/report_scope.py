"""What reports are kept of: reads `admin_api.queries` and `app_config`, and `inventory.hosts`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.contracts.query_reports import USUAL_CAP
from flotilla_common.db.models.admin_api import AppConfig, Query
from flotilla_common.db.models.inventory import Host
from sqlalchemy import BigInteger, any_, cast, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


@dataclass(frozen=True)
class KeptQuery:
    """A query whose results are kept. `team_id` 0: of all hosts. Only what came after `since` is a result of it."""

    id: int
    team_id: int
    name: str
    since: datetime
    is_scheduled: bool


async def cap(session: AsyncSession) -> int | None:
    """Return how many rows of a host and query are kept; None when reports are turned off."""
    columns = col(AppConfig.query_reports_disabled), col(AppConfig.query_report_cap)
    row = (await session.execute(select(*columns).where(col(AppConfig.id) == 1))).one_or_none()
    if row is None:
        return USUAL_CAP
    return None if row[0] else int(row[1] or USUAL_CAP)


async def kept_queries(session: AsyncSession) -> list[KeptQuery]:
    """Return the queries whose results are kept, scheduled or not."""
    statement = select(
        col(Query.id), col(Query.team_id), col(Query.name), col(Query.results_since), col(Query.interval_seconds)
    ).where(col(Query.saved), col(Query.logging) == "snapshot", ~col(Query.discard_data))
    return [
        KeptQuery(int(row[0] or 0), row[1] or 0, row[2], row[3], row[4] > 0) for row in await session.execute(statement)
    ]


async def teams_of(session: AsyncSession, hosts: Collection[int]) -> dict[int, int]:
    """Return host id -> team (0: none) of those that exist."""
    wanted = cast(sorted(hosts), ARRAY(BigInteger))
    rows = await session.execute(select(col(Host.id), col(Host.team_id)).where(col(Host.id) == any_(wanted)))
    return {int(row[0] or 0): row[1] or 0 for row in rows}

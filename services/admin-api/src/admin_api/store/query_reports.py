"""Query reports, as log-shipper keeps them. What people have changed since counts at once, whatever is still stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from flotilla_common.contracts.query_reports import block_of, fetched_at
from flotilla_common.db.models.admin_api import Query
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.log_shipper import QueryReport, QueryReportTimes, ReportedQuery
from sqlalchemy import ColumnElement, and_, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store import host_scope
from admin_api.store.host_scope import one_of

_rows = msgspec.json.Decoder(list[dict[str, str]]).decode


@dataclass(frozen=True)
class HostReport:
    """A host's latest results of a query; `is_clipped`: it sent more rows than are kept."""

    host_id: int
    host_name: str
    hostname: str
    last_fetched: datetime | None
    is_clipped: bool
    rows: Sequence[dict[str, str]]


@dataclass(frozen=True)
class Totals:
    """Of a report: rows of all hosts, and whether any host sent more than are kept."""

    rows: int
    is_clipped: bool


@dataclass(frozen=True)
class Share:
    """Which rows of a host are on a page."""

    host_id: int
    first: int
    end: int


def belongs(query_id: int) -> ColumnElement[bool]:
    """Whether a host is one that the query is for, and stored results are of what the query asks now."""
    counts = (
        select(col(Query.id))
        .join(ReportedQuery, col(ReportedQuery.query_id) == col(Query.id))
        .where(
            col(Query.id) == query_id,
            col(Query.results_since) == col(ReportedQuery.results_since),
            col(Query.logging) == "snapshot",
            col(Query.discard_data).is_(False),
            or_(col(Query.team_id).is_(None), col(Query.team_id) == col(Host.team_id)),
        )
    )
    return counts.exists()


def _select(query_id: int, where: Sequence[ColumnElement[bool]], *columns: Any) -> Any:
    joined = and_(col(QueryReport.host_id) == col(Host.id), col(QueryReport.query_id) == query_id)
    return select(*columns).select_from(Host).join(QueryReport, joined).where(belongs(query_id), *where)


async def totals(session: AsyncSession, query_id: int, where: Sequence[ColumnElement[bool]]) -> Totals:
    """Return how much there is of the hosts that satisfy all conditions."""
    statement = _select(
        query_id, where, func.sum(col(QueryReport.row_count)), func.bool_or(col(QueryReport.is_clipped))
    )
    row = (await session.execute(statement)).one()
    return Totals(int(row[0] or 0), bool(row[1]))


async def page(
    session: AsyncSession, query_id: int, where: Sequence[ColumnElement[bool]], first: int, limit: int
) -> list[Share]:
    """Return whose rows are from the row `first` on, `limit` at most, in the order of host ids."""
    count = col(QueryReport.row_count)
    until = func.sum(count).over(order_by=col(QueryReport.host_id))
    found = _select(query_id, where, col(QueryReport.host_id), count, until.label("until")).subquery()
    before = found.c.until - found.c.row_count
    statement = (
        select(found.c.host_id, before, found.c.until)
        .where(found.c.until > first, before < first + limit, found.c.row_count > 0)
        .order_by(found.c.host_id)
    )
    return [
        Share(row[0], int(max(first - row[1], 0)), int(min(first + limit, row[2]) - row[1]))
        for row in await session.execute(statement)
    ]


async def after(
    session: AsyncSession, query_id: int, where: Sequence[ColumnElement[bool]], host_id: int, limit: int
) -> list[HostReport]:
    """Return the reports of so many hosts at most with ids beyond this one, in their order."""
    return await _reports(session, query_id, [*where, col(QueryReport.host_id) > host_id], limit)


async def of_hosts(
    session: AsyncSession, query_id: int, where: Sequence[ColumnElement[bool]], host_ids: Collection[int]
) -> list[HostReport]:
    """Return the reports of these hosts, by id; those without rows are left out."""
    return await _reports(session, query_id, [*where, one_of(col(QueryReport.host_id), host_ids)], len(host_ids))


async def _reports(
    session: AsyncSession, query_id: int, where: Sequence[ColumnElement[bool]], limit: int
) -> list[HostReport]:
    columns = (
        col(QueryReport.host_id),
        col(QueryReport.is_clipped),
        col(QueryReport.rows),
        col(Host.hostname),
        host_scope.display_name().label("display_name"),
    )
    statement = _select(query_id, where, *columns).order_by(col(QueryReport.host_id)).limit(limit)
    found = list(await session.execute(statement))
    times = await _times(session, query_id, [row.host_id for row in found])
    return [
        HostReport(row.host_id, row.display_name, row.hostname, times.get(row.host_id), row.is_clipped, _rows(row.rows))
        for row in found
    ]


async def last_fetched(
    session: AsyncSession, query_id: int, host_id: int, where: Sequence[ColumnElement[bool]]
) -> datetime | None:
    """Return when a host's latest results are of, be there rows or not; None when there are none that count."""
    statement = select(col(Host.id)).where(col(Host.id) == host_id, belongs(query_id), *where)
    if await session.scalar(statement) is None:
        return None
    return (await _times(session, query_id, [host_id])).get(host_id)


async def _times(session: AsyncSession, query_id: int, host_ids: Collection[int]) -> dict[int, datetime]:
    blocks = {block_of(host_id) for host_id in host_ids}
    statement = select(col(QueryReportTimes.block), col(QueryReportTimes.times)).where(
        col(QueryReportTimes.query_id) == query_id, one_of(col(QueryReportTimes.block), blocks)
    )
    times = {row[0]: row[1] for row in await session.execute(statement)}
    found = ((host_id, fetched_at(times.get(block_of(host_id), b""), host_id)) for host_id in host_ids)
    return {host_id: moment for host_id, moment in found if moment is not None}


NOTHING = false()

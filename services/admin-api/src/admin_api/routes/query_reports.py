"""Query reports: the latest results of each host (admin API 11.4). Pages and the export are not in Fleet."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from flotilla_common.errors import Unavailable
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.deps import DepsDep
from admin_api.domain import hosts, query_reports
from admin_api.domain.host_filters import parse_id
from admin_api.domain.query_reports import Report
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.csv_files import MEDIA_TYPE, Header, cell, lines
from admin_api.routes.downloads import download, patiently
from admin_api.routes.envelope import rfc3339, streamed_json
from admin_api.routes.list_options import ListOptionsDep, Meta, paged
from admin_api.routes.versions import Id, members_router
from admin_api.store import query_reports as store
from admin_api.store.query_reports import HostReport

router = members_router("queries")

PAGE = 1000  # rows on a page, where nobody says: all that Fleet keeps of a query
LONGEST_PAGE = 10_000
COLUMNS = ("host_id", "host_name", "hostname", "last_fetched", "report_clipped")
MOST_COLUMNS = 2000  # in a CSV file, of all hosts together
OTHERS = "other_columns"
LINE_END = b"\r\n"
Sessions = async_sessionmaker[AsyncSession]
TeamId = Annotated[str, Query(alias="team_id", description="only hosts of this team; 0: of none")]


def _team(text: str) -> int | None:
    return parse_id("team_id", text) if text else None


@router.get("/queries/{query_id:int}/report", response_model=dict[str, Any])
async def get_report(
    deps: DepsDep, viewer: ViewerDep, query_id: Id, options: ListOptionsDep, team: TeamId = ""
) -> Response:
    """Show the latest rows of each host, by host, a page at a time; hosts out of the viewer's sight are left out."""
    options = paged(options, PAGE, LONGEST_PAGE)
    page, limit = options.page or 0, options.per_page or PAGE
    async with deps.sessions.begin() as session:
        report = await query_reports.visible(session, viewer, query_id, _team(team))
        totals = await report.totals(session)
        shares = await report.page(session, page * limit, limit)
    meta = Meta(has_next_results=totals.rows > (page + 1) * limit, has_previous_results=page > 0)
    return await streamed_json(
        {
            "query_id": query_id,
            "report_clipped": totals.is_clipped,
            "count": totals.rows,
            "meta": meta.model_dump(),
            "results": _results(report.rows_of(deps.sessions, shares)),
        }
    )


async def _results(rows: AsyncIterator[tuple[HostReport, dict[str, str]]]) -> AsyncIterator[dict[str, Any]]:
    async for host, row in rows:
        yield {
            "host_id": host.host_id,
            "host_name": host.host_name,
            "last_fetched": host.last_fetched,
            "report_clipped": host.is_clipped,
            "columns": row,
        }


@router.get("/hosts/{host_id:int}/queries/{query_id:int}")
async def get_host_report(deps: DepsDep, viewer: ViewerDep, host_id: Id, query_id: Id) -> dict[str, Any]:
    """Show a host's latest rows of a query. `last_fetched` is null before the first result."""
    async with deps.sessions.begin() as session:
        host = await hosts.readable(session, viewer, host_id, deps.clock())
        report = await query_reports.visible(session, viewer, query_id, None)
        found = await store.of_hosts(session, query_id, report.where, [host_id])
        last_fetched = await store.last_fetched(session, query_id, host_id, report.where)
    return {
        "query_id": query_id,
        "host_id": host_id,
        "host_name": host.display_name,
        "last_fetched": last_fetched,
        "report_clipped": any(one.is_clipped for one in found),
        "results": [{"columns": row} for one in found for row in one.rows],
    }


@router.get(
    "/queries/{query_id:int}/report/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}},
)
async def export_report(
    deps: DepsDep,
    viewer: ViewerDep,
    query_id: Id,
    team: TeamId = "",
    kind: Annotated[str, Query(alias="format", description="csv")] = "csv",
) -> Response:
    """Return all rows as a CSV file: a column for each name that any host answered."""
    if kind != "csv":
        raise InvalidArgument("format", "format must be csv")
    async with deps.sessions.begin() as session:
        report = await query_reports.visible(session, viewer, query_id, _team(team))
    return await download(as_csv(report, deps.sessions), f"query-{query_id}-report.csv", MEDIA_TYPE)


class Columns:
    """What stands over the columns that hosts name, in the order in which they came."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._has_others = False

    def add(self, host: HostReport) -> None:
        """Take in the names of a host's rows."""
        for row in host.rows:
            for name in row:
                if name in self._names:
                    continue
                if len(self._names) < MOST_COLUMNS:
                    self._names[name] = None
                else:
                    self._has_others = True

    def first_line(self) -> bytes:
        """Return the names."""
        header = Header([*COLUMNS, OTHERS])
        names = [*COLUMNS, *map(header.name, self._names), *([OTHERS] if self._has_others else [])]
        return lines([names])

    def cells(self, host: HostReport, row: dict[str, str]) -> list[str]:
        """Return a line.

        Raises:
            Unavailable: it has a column that no host had when the first line was sent.

        """
        fetched = "" if host.last_fetched is None else rfc3339(host.last_fetched)
        ours = (host.host_id, host.host_name, host.hostname, fetched, host.is_clipped)
        found = [*map(cell, ours), *(cell(row.get(name)) for name in self._names)]
        others = {name: value for name, value in row.items() if name not in self._names}
        if self._has_others:
            found.append(cell(json.dumps(others, ensure_ascii=False)) if others else "")
        elif others:
            raise Unavailable("the report has changed meanwhile")
        return found


async def as_csv(report: Report, sessions: Sessions) -> AsyncIterator[bytes]:
    """Yield a CSV file. What a spreadsheet would take for a formula has an apostrophe before it.

    All is read twice: first for the names of columns. Those beyond MOST_COLUMNS are members of a JSON object in a
    column OTHERS behind them.
    """
    columns, read = Columns(), partial(report.after, sessions)
    async for _, some in patiently(read, 0):
        for host in some:
            columns.add(host)
    yield columns.first_line()
    async for _, some in patiently(read, 0, begun=True):
        for host in some:
            yield lines([columns.cells(host, row) for row in host.rows])

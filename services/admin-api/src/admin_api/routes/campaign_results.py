"""Rows of a live query, running or finished: shown in pages, or taken away as a file (not in Fleet)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from flotilla_common.errors import Unavailable

from admin_api.deps import Deps, DepsDep
from admin_api.domain import campaigns, result_pages
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.result_pages import ResultReader, ResultRow
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.csv_files import MEDIA_TYPE, Header, cell, lines
from admin_api.routes.downloads import download, patiently
from admin_api.routes.envelope import CONTENT_TYPE, rfc3339, streamed_json
from admin_api.routes.pretty import ROWS_AT_ONCE
from admin_api.routes.versions import Id, members_router
from admin_api.store import campaign_segments
from admin_api.store.campaign_rows import START

router = members_router("live queries")

PAGE = 1000  # rows on a page, where nobody says
LONGEST_PAGE = 10_000
COLUMNS = ("host_id", "hostname", "display_name", "team_id", "settled_at")
MOST_COLUMNS = 2000  # in a CSV file, of all hosts together
OTHERS = "other_columns"
LINE_END = b"\r\n"
HostId = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="rows of this host alone")]


@router.get("/campaigns/{campaign_id:int}/results", response_model=dict[str, Any])
async def get_results(
    deps: DepsDep,
    viewer: ViewerDep,
    campaign_id: Id,
    host_id: HostId = None,
    per_page: Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="rows on a page, at most")] = PAGE,
    after: Annotated[str, Query(description="where to go on: `meta.next` of the page before")] = "",
) -> Response:
    """Show rows in the order in which they came; hosts out of the viewer's sight are left out."""
    cursor = result_pages.cursor_of(after)
    async with deps.sessions.begin() as session:
        campaign = await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
        state = await campaign_segments.state(session, campaign_id)
    page = await _reader(deps, viewer, campaign_id, host_id).page(cursor, per_page)
    results = {
        "status": "running" if campaign.status == "open" else "complete",
        "removed_at": state.removed_at,
        "rows": map(row_object, page.rows),
    }
    meta = {"has_next_results": page.has_more, "next": str(page.following)}
    return await streamed_json({"results": results, "meta": meta})


@router.get(
    "/campaigns/{campaign_id:int}/results/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}, "application/json": {}}}},
)
async def export_results(
    deps: DepsDep,
    viewer: ViewerDep,
    campaign_id: Id,
    kind: Annotated[str, Query(alias="format", description="csv or json")] = "csv",
    host_id: HostId = None,
) -> Response:
    """Return all rows that there are as a file. CSV: a column for each name that any host answered."""
    if kind not in {"csv", "json"}:
        raise InvalidArgument("format", "format must be csv or json")
    async with deps.sessions.begin() as session:
        await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
    reader = _reader(deps, viewer, campaign_id, host_id)
    name = f"campaign-{campaign_id}-results.{kind}"
    if kind == "json":
        return await download(as_json(reader), name, CONTENT_TYPE)
    return await download(as_csv(reader), name, MEDIA_TYPE)


def _reader(deps: Deps, viewer: Viewer, campaign_id: int, host_id: int | None) -> ResultReader:
    return ResultReader(deps.sessions, deps.results, campaign_id, visible_team_ids(viewer), host_id)


def row_object(row: ResultRow) -> dict[str, Any]:
    """Return a row as the API shows it."""
    return {
        "host_id": row.host.host_id,
        "hostname": row.host.hostname,
        "display_name": row.host.display_name,
        "team_id": row.host.team_id,
        "settled_at": _time(row.settled_at),
        "columns": row.columns,
    }


def _time(text: str) -> str | None:
    """Return a time as all answers of the API have it."""
    try:
        return rfc3339(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return text


def _in_pieces(rows: Sequence[ResultRow]) -> Iterator[Sequence[ResultRow]]:
    """Yield so few rows that others get their turn; no rows are a piece as well."""
    for first in range(0, max(len(rows), 1), ROWS_AT_ONCE):
        yield rows[first : first + ROWS_AT_ONCE]


async def as_csv(reader: ResultReader) -> AsyncIterator[bytes]:
    """Yield a CSV file. What a spreadsheet would take for a formula has an apostrophe before it.

    All is read twice: the names of columns are sent as they are found, and the rows after that. Columns that come when
    there are MOST_COLUMNS are members of a JSON object in the last one, OTHERS.
    """
    header, names, last, more = Header([*COLUMNS, OTHERS]), list[str](), START, False
    line = lines([COLUMNS]).removesuffix(LINE_END)
    known = set[str]()
    async for last, found in patiently(reader.columns, START):  # noqa: B007 - the last one is wanted
        fresh = [name for name in found if name not in known]
        added = fresh[: MOST_COLUMNS - len(names)]
        more = more or len(added) < len(fresh)
        known.update(added)
        names += added
        line += b"".join(b"," + lines([[header.name(name)]]).removesuffix(LINE_END) for name in added)
        yield line
        line = b""
    if more:
        line += f",{OTHERS}".encode()
    line, reached = line + LINE_END, START
    read = partial(reader.all, until=last)
    async for reached, rows in patiently(read, START, begun=True):  # noqa: B007 - the last one is wanted
        for some in _in_pieces(rows):
            yield line + lines([_cells(row_object(row), names, known if more else None) for row in some])
            line = b""
    if reached != last:
        raise Unavailable(f"rows of campaign {reader.campaign_id} have been removed")
    yield line


async def as_json(reader: ResultReader) -> AsyncIterator[bytes]:
    """Yield what the API answers for a page with all rows."""
    mark, separator = b'{"results": {"rows": [', b"\n"
    async for _, rows in patiently(reader.all, START):
        for some in _in_pieces(rows):
            text = b",\n".join(map(msgspec.json.encode, map(row_object, some)))
            yield mark + (separator + text if text else b"")
            mark, separator = b"", b",\n" if text else separator
    yield mark + b"\n]}}\n"


def _cells(row: dict[str, Any], names: Sequence[str], known: Collection[str] | None) -> list[str]:
    """Return a line; a last cell has what is not `known`, if that is given."""
    columns: Mapping[str, str] = row["columns"]
    found = [*(cell(row[name]) for name in COLUMNS), *(cell(columns.get(name)) for name in names)]
    if known is not None:
        others = {name: value for name, value in columns.items() if name not in known}
        found.append(cell(json.dumps(others, ensure_ascii=False)) if others else "")
    return found

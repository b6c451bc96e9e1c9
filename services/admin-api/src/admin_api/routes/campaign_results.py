"""Rows of a live query, running or finished: shown in pages, or taken away as a file (not in Fleet)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from admin_api.deps import Deps, DepsDep
from admin_api.domain import campaigns, result_pages
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.campaign_progress import missing_data
from admin_api.domain.result_pages import ResultReader, ResultRow
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.campaign_ledgers import cell
from admin_api.routes.envelope import CONTENT_TYPE
from admin_api.routes.versions import Id, members_router
from admin_api.store import campaign_segments
from admin_api.store.campaign_rows import START, MissingAnswers

router = members_router("live queries")

PAGE = 1000  # rows on a page, where nobody says
LONGEST_PAGE = 10_000
COLUMNS = ("host_id", "hostname", "display_name", "team_id", "settled_at")
MISSING_COLUMN = "missing answers"
MOST_COLUMNS = 2000  # in a CSV file, of all hosts together
HostId = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="rows of this host alone")]


@router.get("/campaigns/{campaign_id:int}/results")
async def get_results(
    deps: DepsDep,
    viewer: ViewerDep,
    campaign_id: Id,
    host_id: HostId = None,
    per_page: Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="rows on a page, at most")] = PAGE,
    after: Annotated[str, Query(description="where to go on: `meta.next` of the page before")] = "",
) -> dict[str, Any]:
    """Show rows in the order in which they came; hosts out of the viewer's sight are left out.

    `missing` has the answers that should be among them and cannot be read any more.
    """
    cursor = result_pages.cursor_of(after)
    async with deps.sessions.begin() as session:
        campaign = await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
        state = await campaign_segments.state(session, campaign_id)
    page = await _reader(deps, viewer, campaign_id, host_id).page(cursor, per_page)
    return {
        "results": {
            "status": "running" if campaign.status == "open" else "complete",
            "removed_at": state.removed_at,
            "rows": [row_object(row) for row in page.rows],
            "missing": list(map(missing_data, page.missing)),
        },
        "meta": {"has_next_results": page.has_more, "next": str(page.following)},
    }


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
    headers = {
        "content-disposition": f'attachment; filename="campaign-{campaign_id}-results.{kind}"',
        "x-content-type-options": "nosniff",
    }
    if kind == "json":
        return StreamingResponse(as_json(reader), media_type=CONTENT_TYPE, headers=headers)
    columns = await _columns(reader)
    return StreamingResponse(as_csv(reader, columns), media_type="text/csv; charset=utf-8", headers=headers)


def _reader(deps: Deps, viewer: Viewer, campaign_id: int, host_id: int | None) -> ResultReader:
    return ResultReader(deps.sessions, deps.results, campaign_id, visible_team_ids(viewer), host_id)


def row_object(row: ResultRow) -> dict[str, Any]:
    """Return a row as the API shows it."""
    return {
        "host_id": row.host.host_id,
        "hostname": row.host.hostname,
        "display_name": row.host.display_name,
        "team_id": row.host.team_id,
        "settled_at": row.settled_at or None,
        "columns": row.columns,
    }


@dataclass
class Columns:
    """The columns of a file: names in the order in which they came, `last`: up to where; whether answers are lost."""

    names: dict[str, None] = field(default_factory=dict)
    last: str = START
    any_missing: bool = False


async def _columns(reader: ResultReader) -> Columns:
    """Look through all rows, which are read once more then."""
    found = Columns()
    async for portion in reader.all():
        found.last = portion.position
        found.any_missing |= portion.missing is not None
        for row in portion.rows:
            found.names.update(dict.fromkeys(row.columns))
        if len(found.names) > MOST_COLUMNS:
            raise InvalidArgument("format", f"hosts answered more than {MOST_COLUMNS} columns: take format=json")
    return found


async def as_csv(reader: ResultReader, columns: Columns) -> AsyncIterator[bytes]:
    """Yield a CSV file. What a spreadsheet would take for a formula has an apostrophe before it.

    Where answers are lost stands a row without a host that says so in a last column, which other files do not have.
    """
    names = list(columns.names)
    added = [MISSING_COLUMN] if columns.any_missing else []
    yield _lines([[*COLUMNS, *map(cell, names), *added]])
    async for portion in reader.all(columns.last):
        if portion.missing is not None:
            yield _lines([[*[""] * len((*COLUMNS, *names)), missing_text(portion.missing)]])
        if portion.rows:
            yield _lines([[*_cells(row_object(row), names), *([""] if added else [])] for row in portion.rows])


async def as_json(reader: ResultReader) -> AsyncIterator[bytes]:
    """Yield what the API answers for a page with all rows."""
    missing = []
    yield b'{"results": {"rows": ['
    mark = b"\n"
    async for portion in reader.all():
        missing += [missing_data(portion.missing)] if portion.missing is not None else []
        if portion.rows:
            yield mark + b",\n".join(json.dumps(row_object(row)).encode() for row in portion.rows)
            mark = b",\n"
    yield b'\n], "missing": ' + json.dumps(missing).encode() + b"}}\n"


def missing_text(missing: MissingAnswers) -> str:
    """Say in a cell what is lost."""
    return f"{missing.answers} answers at most, {missing.reason}: behind {missing.after}, up to {missing.last}"


def _cells(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [*(cell(row[name]) for name in COLUMNS), *(cell(row["columns"].get(name)) for name in names)]


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()

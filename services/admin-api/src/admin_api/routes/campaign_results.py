"""Rows of a live query, running or finished: shown in pages, or taken away as a file (not in Fleet)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from admin_api.domain.campaign_progress import missing_data
from admin_api.domain.result_pages import ResultReader, ResultRow
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.csv_files import MEDIA_TYPE, Header, cell, lines
from admin_api.routes.downloads import download, patiently
from admin_api.routes.envelope import CONTENT_TYPE, rfc3339, streamed_json
from admin_api.routes.pretty import ROWS_AT_ONCE
from admin_api.routes.versions import Id, members_router
from admin_api.store.campaign_rows import START, MissingAnswers

router = members_router("live queries")

PAGE = 1000  # rows on a page, where nobody says
LONGEST_PAGE = 10_000
COLUMNS = ("host_id", "hostname", "display_name", "team_id", "settled_at")
MISSING_COLUMN = "missing answers"
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
    """Show rows in the order in which they came; hosts out of the viewer's sight are left out.

    `missing` has the answers that should be among them and cannot be read any more.
    """
    cursor = result_pages.cursor_of(after)
    async with deps.sessions.begin() as session:
        campaign = await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
    reader = _reader(deps, viewer, campaign_id, host_id)
    page = await reader.page(cursor, per_page)
    results = {
        "status": "running" if campaign.status == "open" else "complete",
        "removed_at": await reader.removed_at(),  # after the page: what went meanwhile is not in it
        "rows": map(row_object, page.rows),
        "missing": list(map(missing_data, page.missing)),
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


@dataclass
class Columns:
    """The columns of a CSV file: `names` in the order in which they came, `last`: up to where rows were looked at.

    `has_others`: there are more than MOST_COLUMNS. `has_missing`: answers are lost.
    """

    names: list[str] = field(default_factory=list)
    last: str = START
    has_others: bool = False
    has_missing: bool = False
    _known: set[str] = field(default_factory=set)

    def add(self, found: Sequence[str]) -> list[str]:
        """Take in the names of an answer; returns those that get a column."""
        fresh = [name for name in found if name not in self._known]
        added = fresh[: MOST_COLUMNS - len(self.names)]
        self.has_others |= len(added) < len(fresh)
        self._known.update(added)
        self.names += added
        return added

    def cells(self, row: dict[str, Any]) -> list[str]:
        """Return a line.

        Raises:
            Unavailable: it has a column that nobody knew of when the first line was sent: its answer was lost then.

        """
        columns: Mapping[str, str] = row["columns"]
        found = [*(cell(row[name]) for name in COLUMNS), *(cell(columns.get(name)) for name in self.names)]
        others = {} if self._known.issuperset(columns) else {n: v for n, v in columns.items() if n not in self._known}
        if self.has_others:
            found.append(cell(json.dumps(others, ensure_ascii=False)) if others else "")
        elif others:
            raise Unavailable("answers that were lost can be read again")
        return [*found, ""] if self.has_missing else found

    def missing_cells(self, missing: MissingAnswers) -> list[str]:
        """Return a line without a host that says what is lost.

        Raises:
            Unavailable: nothing was lost when the first line was sent.

        """
        if not self.has_missing:
            raise Unavailable("answers have been lost meanwhile")
        empty = len(COLUMNS) + len(self.names) + self.has_others
        text = f"{missing.answers} answers at most, {missing.reason}: behind {missing.after}, up to {missing.last}"
        return [*[""] * empty, text]


async def as_csv(reader: ResultReader) -> AsyncIterator[bytes]:
    """Yield a CSV file. What a spreadsheet would take for a formula has an apostrophe before it.

    All is read twice: the names of columns are sent as they are found, and the rows after that. Columns that come when
    there are MOST_COLUMNS are members of a JSON object in a column OTHERS behind them. Where answers are lost stands a
    row without a host that says so in a last column, which other files do not have.
    """
    columns, reached = Columns(), START
    async for piece in _first_line(reader, columns):
        yield piece
    read = partial(reader.all, until=columns.last)
    async for reached, part in patiently(read, START, begun=True):  # noqa: B007 - the last one is wanted
        if isinstance(part, MissingAnswers):
            yield lines([columns.missing_cells(part)])
            continue
        for some in _in_pieces(part):
            yield lines([columns.cells(row_object(row)) for row in some])
    if reached != columns.last:
        raise Unavailable(f"rows of campaign {reader.campaign_id} have been removed")


async def _first_line(reader: ResultReader, columns: Columns) -> AsyncIterator[bytes]:
    header = Header([*COLUMNS, OTHERS, MISSING_COLUMN])
    line = lines([COLUMNS]).removesuffix(LINE_END)
    async for columns.last, found in patiently(reader.columns, START):
        if isinstance(found, MissingAnswers):
            columns.has_missing = True
            continue
        for name in columns.add(found):
            line += b"," + lines([[header.name(name)]]).removesuffix(LINE_END)
        yield line
        line = b""
    added = [OTHERS] * columns.has_others + [MISSING_COLUMN] * columns.has_missing
    yield line + "".join(f",{name}" for name in added).encode() + LINE_END


async def as_json(reader: ResultReader) -> AsyncIterator[bytes]:
    """Yield what the API answers for a page with all rows.

    Raises:
        Unavailable: they have been removed meanwhile; or a part stays away.

    """
    removed_before = await reader.removed_at()
    mark, separator = b'{"results": {"rows": [', b"\n"
    missing = list[dict[str, Any]]()
    async for _, part in patiently(reader.all, START):
        if isinstance(part, MissingAnswers):
            missing.append(missing_data(part))
            continue
        for some in _in_pieces(part):
            text = b",\n".join(map(msgspec.json.encode, map(row_object, some)))
            yield mark + (separator + text if text else b"")
            mark, separator = b"", b",\n" if text else separator
    async for _, removed_at in patiently(partial(_removal, reader), START, begun=True):
        if removed_at != removed_before:
            raise Unavailable(f"rows of campaign {reader.campaign_id} have been removed")
    yield mark + b'\n], "missing": ' + json.dumps(missing).encode() + b"}}\n"


async def _removal(reader: ResultReader, place: str) -> AsyncIterator[tuple[str, datetime | None]]:
    yield place, await reader.removed_at()

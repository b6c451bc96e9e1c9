"""A campaign's ledger, host by host: shown in pages, or taken away as a file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from admin_api.deps import DepsDep
from admin_api.domain import campaign_ledgers, campaigns
from admin_api.domain.authorize import visible_team_ids
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.campaigns import account_object
from admin_api.routes.csv_files import MEDIA_TYPE, cell, lines
from admin_api.routes.downloads import download, patiently
from admin_api.routes.envelope import CONTENT_TYPE, rfc3339
from admin_api.routes.list_options import ListOptionsDep, meta_of, paged
from admin_api.routes.versions import Id, members_router
from admin_api.store import campaign_ledgers as store
from admin_api.store import campaigns as campaign_store
from admin_api.store.campaign_ledgers import Entry

router = members_router("live queries")

PAGE = 1000  # hosts on a page, where nobody says
LONGEST_PAGE = 10_000
COLUMNS = (
    "host_id",
    "hostname",
    "display_name",
    "team_id",
    "state",
    "offered",
    "offered_at",
    "settled_at",
    "row_count",
    "truncated",
    "error",
)
States = Annotated[str, Query(description="states to show, comma separated; `offered` means some of the pending")]


@router.get("/campaigns/{campaign_id:int}/ledger")
async def get_ledger(
    deps: DepsDep, viewer: ViewerDep, campaign_id: Id, options: ListOptionsDep, state: States = ""
) -> dict[str, Any]:
    """Show what became of each targeted host: counts of all of them, and a page of those asked for."""
    states = campaign_ledgers.states_of(state)
    options = paged(options, PAGE, LONGEST_PAGE)
    async with deps.sessions.begin() as session:
        await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
        counts = await store.counts(session, campaign_id)
        account = await campaign_store.account(session, campaign_id)
        entries, more = await store.page(session, campaign_id, options, states, visible_team_ids(viewer))
    return {
        "ledger": {"counts": counts, "hosts": [entry_object(entry) for entry in entries]},
        "meta": meta_of(options, more=more).model_dump(),
        **account_object(account),
    }


@router.get(
    "/campaigns/{campaign_id:int}/ledger/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}, "application/json": {}}}},
)
async def export_ledger(
    deps: DepsDep,
    viewer: ViewerDep,
    campaign_id: Id,
    kind: Annotated[str, Query(alias="format", description="csv or json")] = "csv",
    state: States = "",
) -> Response:
    """Return the whole ledger as a file, by host id. While the campaign runs, each page is of its own moment."""
    states = campaign_ledgers.states_of(state)
    if kind not in {"csv", "json"}:
        raise InvalidArgument("format", "format must be csv or json")
    async with deps.sessions.begin() as session:
        await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
        counts = await store.counts(session, campaign_id)
    read = partial(campaign_ledgers.pages, deps.sessions, campaign_id, states, visible_team_ids(viewer))
    pages, name = patiently(read, 0), f"campaign-{campaign_id}-ledger.{kind}"
    if kind == "csv":
        return await download(as_csv(pages), name, MEDIA_TYPE)
    return await download(as_json(counts, pages), name, CONTENT_TYPE)


def entry_object(entry: Entry) -> dict[str, Any]:
    """Return a host of a ledger as the API shows it."""
    return {
        "host_id": entry.host_id,
        "hostname": entry.hostname,
        "display_name": entry.display_name,
        "team_id": entry.team_id,
        "state": entry.state,
        "offered": entry.is_offered,
        "offered_at": entry.offered_at,
        "settled_at": entry.settled_at,
        "row_count": entry.row_count,
        "truncated": entry.is_truncated,
        "error": entry.error,
        "stats": entry.stats,
    }


async def as_csv(pages: AsyncIterator[tuple[int, Sequence[Entry]]]) -> AsyncIterator[bytes]:
    """Yield a CSV file. What a spreadsheet would take for a formula has an apostrophe before it."""
    head = lines([COLUMNS])
    async for _, page in pages:
        yield head + lines([[cell(entry_object(entry)[column]) for column in COLUMNS] for entry in page])
        head = b""
    yield head


async def as_json(counts: dict[str, int], pages: AsyncIterator[tuple[int, Sequence[Entry]]]) -> AsyncIterator[bytes]:
    """Yield what the API answers for a ledger of one page."""
    mark = b'{"ledger": {"counts": ' + json.dumps(counts).encode() + b', "hosts": ['
    separator = b"\n"
    async for _, page in pages:
        hosts = b",\n".join(json.dumps(entry_object(entry), default=rfc3339).encode() for entry in page)
        yield mark + separator + hosts
        mark, separator = b"", b",\n"
    yield mark + b"\n]}}\n"

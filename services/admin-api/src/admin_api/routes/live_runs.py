"""Live queries that answer in the same HTTP request (admin API 15.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from flotilla_common.contracts.campaigns import Budget, CampaignStartedV1
from flotilla_common.db.models.admin_api import Query
from flotilla_common.errors import FleetError, Unavailable
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import Deps, DepsDep
from admin_api.domain import campaigns
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any
from admin_api.domain.campaigns import Asked
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.campaigns import BudgetedBody, start, starting, warned
from admin_api.routes.envelope import streamed_json
from admin_api.routes.host_parameters import Number
from admin_api.routes.live_answers import Answers, collect, wait_seconds
from admin_api.routes.versions import Id, members_router
from admin_api.store import hosts as host_store
from admin_api.store.hosts import HostRow
from admin_api.store.targets import Selection

router = members_router("live queries")

IDS_REQUIRED = "query_ids and host_ids are required"
QUERIES_AT_ONCE = 20


@dataclass(frozen=True)
class Running:
    """A campaign that has been started, and the answer's `warnings` if there are any."""

    started: CampaignStartedV1
    warnings: dict[str, list[str]]


class HostIdsBody(BudgetedBody):
    """Which hosts to ask."""

    host_ids: list[Number] = Field(default_factory=list)


async def _start(deps: Deps, viewer: Viewer, query_id: int, host_ids: list[int], budget: Budget) -> Running:
    async with starting(deps) as session:
        return await _run(deps, session, viewer, await campaigns.saved(session, viewer, query_id), host_ids, budget)


async def _run(
    deps: Deps, session: AsyncSession, viewer: Viewer, asked: Asked, host_ids: Iterable[int], budget: Budget
) -> Running:
    selection = Selection(hosts=frozenset(host_ids))
    cleared = await campaigns.cleared(session, viewer, asked, deps.sql_reader)
    request = await campaigns.request(
        session, viewer, cleared, selection, kind="synchronous", wait_seconds=wait_seconds(deps), budget=budget
    )
    return Running(await start(deps, session, viewer, cleared, request), warned(cleared.warnings))


@router.post("/queries/{query_id:int}/run", response_model=dict[str, Any])
async def run_saved_query(deps: DepsDep, viewer: ViewerDep, query_id: Id, body: HostIdsBody) -> Response:
    """Run a saved query and wait for the answers."""
    authorize_any(viewer, Action.RUN_SAVED_QUERY)
    if not body.host_ids:
        raise BadRequest(IDS_REQUIRED)
    running = await _start(deps, viewer, query_id, body.host_ids, body.limits())
    answers = await collect(deps, viewer, running.started)
    return await streamed_json(
        {
            "query_id": query_id,
            "targeted_host_count": running.started.counts.total,
            "responded_host_count": len(answers.host_ids),
            "results": answers.objects(),
            **answers.kept_from_asking,
            **running.warnings,
        }
    )


class RunManyBody(BudgetedBody):
    """Each of these queries is asked of each of these hosts."""

    query_ids: list[Number] = Field(default_factory=list)
    host_ids: list[Number] = Field(default_factory=list)


@router.get("/queries/run", response_model=dict[str, Any])
async def run_saved_queries(deps: DepsDep, viewer: ViewerDep, body: RunManyBody) -> Response:
    """Run several saved queries and wait for the answers (the old way: a GET with a body)."""
    authorize_any(viewer, Action.RUN_SAVED_QUERY)
    if not body.query_ids or not body.host_ids:
        raise BadRequest(IDS_REQUIRED)
    query_ids = list(dict.fromkeys(body.query_ids))
    if len(query_ids) > QUERIES_AT_ONCE:
        raise BadRequest(f"at most {QUERIES_AT_ONCE} queries can be run at once")
    await _check_enabled(deps)
    found = await asyncio.gather(*(_run_one(deps, viewer, query_id, body) for query_id in query_ids))
    answered = {host_id for host_ids, _ in found for host_id in host_ids}
    summary = {"targeted_host_count": len(set(body.host_ids)), "responded_host_count": len(answered)}
    return await streamed_json({"summary": summary, "live_query_results": _each([result for _, result in found])})


async def _each(results: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    for result in results:
        yield result


async def _run_one(deps: Deps, viewer: Viewer, query_id: int, body: RunManyBody) -> tuple[list[int], dict[str, Any]]:
    """Return who answered, and what is said of this query."""
    try:
        running = await _start(deps, viewer, query_id, body.host_ids, body.limits())
        answers = await collect(deps, viewer, running.started)
    except Unavailable:
        raise
    except FleetError as error:  # one query that cannot be run leaves the others alone
        return [], {"query_id": query_id, "error": str(error), "results": []}
    result = {"query_id": query_id, "results": answers.objects(), **answers.kept_from_asking, **running.warnings}
    return answers.host_ids, result


class SqlBody(BudgetedBody):
    """What to ask."""

    query: str = ""


@router.post("/hosts/{host_id:int}/query", response_model=dict[str, Any])
async def query_host(deps: DepsDep, viewer: ViewerDep, host_id: Id, body: SqlBody) -> Response:
    """Ask one host new SQL and wait for its answer."""
    _check_sql(viewer, body)
    async with deps.sessions.begin() as session:
        row = await host_store.by_id(session, host_id, deps.clock())
    return await _query_host(deps, viewer, row, str(host_id), body)


@router.post("/hosts/identifier/{identifier}/query", response_model=dict[str, Any])
async def query_host_by_identifier(deps: DepsDep, viewer: ViewerDep, identifier: str, body: SqlBody) -> Response:
    """Ask one host, found by any of its names, new SQL and wait for its answer."""
    _check_sql(viewer, body)
    async with deps.sessions.begin() as session:
        row = await host_store.by_identifier(session, identifier, deps.clock())
    return await _query_host(deps, viewer, row, identifier, body)


def _check_sql(viewer: Viewer, body: SqlBody) -> None:
    authorize_any(viewer, Action.RUN_NEW_QUERY)
    if not body.query.strip():
        raise BadRequest("query is required")


async def _query_host(deps: Deps, viewer: Viewer, row: HostRow | None, which: str, body: SqlBody) -> Response:
    sql = body.query
    if row is None:
        raise BadRequest(f"host not found: {which}")
    authorize(viewer, Action.RUN_NEW_QUERY, Subject(row.host.team_id))
    await campaigns.read_beforehand(viewer, sql, deps.sql_reader)
    answer: dict[str, Any] = {"host_id": row.host_id, "rows": None, "query": sql, "status": "offline"}
    if not row.online:
        return await streamed_json({**answer, **await _check_only(deps, viewer, row, sql)})
    running = await _start_ad_hoc(deps, viewer, row.host_id, body)
    answers = await collect(deps, viewer, running.started)
    return await streamed_json({**answer, "status": "online", **await _outcome(answers), **running.warnings})


async def _check_only(deps: Deps, viewer: Viewer, row: HostRow, sql: str) -> dict[str, list[str]]:
    """Hold SQL for a host that is away to the same rules as if it were there."""
    async with deps.sessions.begin() as session:
        await campaigns.check_enabled(session)
        teams = None if row.host.team_id is None else frozenset([row.host.team_id])
        asked = Asked(Query(name="", query=sql, saved=False), teams)
        return warned((await campaigns.cleared(session, viewer, asked, deps.sql_reader)).warnings)


async def _check_enabled(deps: Deps) -> None:
    async with deps.sessions.begin() as session:
        await campaigns.check_enabled(session)


async def _start_ad_hoc(deps: Deps, viewer: Viewer, host_id: int, body: SqlBody) -> Running:
    async with starting(deps) as session:
        asked = await campaigns.ad_hoc(session, viewer, body.query, deps.clock())
        return await _run(deps, session, viewer, asked, [host_id], body.limits())


async def _outcome(answers: Answers) -> dict[str, Any]:
    async for found in answers.objects():
        return {"rows": found["rows"]} if found["error"] is None else {"error": found["error"]}
    kept_from_asking = answers.kept_from_asking
    if answers.standing.is_halted:
        return {"error": "live queries are disabled", **kept_from_asking}
    if kept_from_asking:
        return {"error": f"the live query was paused: {answers.standing.pause_reason or ''}", **kept_from_asking}
    return {"error": "timeout waiting for results"}

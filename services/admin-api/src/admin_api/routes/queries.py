"""Saved queries (admin API part 11)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query as Parameter
from flotilla_common.db.models.admin_api import Query
from pydantic import Field
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import DepsDep
from admin_api.domain import activities, queries
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any, is_allowed
from admin_api.domain.queries import QueryFields, query_object
from admin_api.errors import BadRequest, Missing
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.host_parameters import Number
from admin_api.routes.list_options import ListOptionsDep, meta_of
from admin_api.routes.versions import Flag, Id, members_router
from admin_api.store import queries as query_store
from admin_api.store.listing import ListOptions

router = members_router("queries")

Seconds = Annotated[int, Field(ge=0, le=2**31 - 1)]


class FieldsBody(ApiBody):
    """What a query consists of."""

    name: str | None = None
    query: str | None = None
    description: str | None = None
    interval: Seconds | None = None
    platform: str | None = None
    min_osquery_version: str | None = None
    automations_enabled: bool | None = None
    logging: str | None = None
    observer_can_run: bool | None = None
    discard_data: bool | None = None
    labels_include_any: list[str] | None = None

    def fields(self) -> QueryFields:
        """Return what the domain knows."""
        return QueryFields(**{name: getattr(self, name) for name in FieldsBody.model_fields})


class CreateBody(FieldsBody):
    """A new query; without a team it is global."""

    team_id: Number | None = None


async def query_answer(session: AsyncSession, query: Query) -> dict[str, Any]:
    """Return `{query}`."""
    query_id = query.id or 0
    scope = await query_store.labels_by_query(session, [query_id])
    return {"query": query_object(query, scope[query_id])}


def _conditions(
    team_id: str, platform: str, text: str, *, inherited: bool
) -> tuple[int | None, list[ColumnElement[bool]]]:
    if team_id and not (team_id.isascii() and team_id.isdigit() and len(team_id) < 19):
        raise BadRequest(f"invalid team_id: {team_id[:100]}")
    team = int(team_id) or None if team_id else None
    where = [query_store.in_scope(team, inherited=inherited)]
    if platform:
        wanted = "darwin" if platform == "macos" else platform
        if wanted not in query_store.PLATFORMS:
            raise BadRequest("queries can only be filtered by one platform at a time")
        where.append(query_store.runs_on(wanted))
    if text:
        where.append(query_store.named_like(text))
    return team, where


@router.get("/queries")
async def list_queries(
    deps: DepsDep,
    viewer: ViewerDep,
    options: ListOptionsDep,
    team_id: Annotated[str, Parameter(description="only this team's")] = "",
    merge_inherited: Flag = False,
    platform: Annotated[str, Parameter(description="macos, windows, linux or chrome")] = "",
) -> dict[str, Any]:
    """List the global queries, or a team's; those who may not read the global ones inherit none."""
    authorize_any(viewer, Action.READ_QUERIES)
    inherited = merge_inherited and is_allowed(viewer, Action.READ_QUERIES)
    team, where = _conditions(team_id, platform, options.query, inherited=inherited)
    authorize(viewer, Action.READ_QUERIES, Subject(team))
    paging = ListOptions(options.page, options.per_page, options.order_key, options.descending, options.after)
    async with deps.sessions.begin() as session:
        rows, more = await query_store.page(session, where, paging)
        scope = await query_store.labels_by_query(session, [row.id for row in rows if row.id is not None])
        count = await query_store.count(session, where)
    found = [query_object(row, scope[row.id or 0]) for row in rows]
    return {"queries": found, "count": count, "meta": meta_of(options, more=more)}


@router.get("/queries/{query_id:int}")
async def get_query(deps: DepsDep, viewer: ViewerDep, query_id: Id) -> dict[str, Any]:
    """Show one query."""
    async with deps.sessions.begin() as session:
        return await query_answer(session, await queries.readable(session, viewer, query_id))


@router.post("/queries")
async def create_query(deps: DepsDep, viewer: ViewerDep, body: CreateBody) -> dict[str, Any]:
    """Save a query."""
    async with deps.sessions.begin() as session:
        query = await queries.create(session, viewer, body.fields(), body.team_id or None)
        details = {"query_id": query.id, "query_name": query.name}
        await activities.record(session, viewer, "created_saved_query", details)
        return await query_answer(session, query)


@router.patch("/queries/{query_id:int}")
async def modify_query(deps: DepsDep, viewer: ViewerDep, query_id: Id, body: FieldsBody) -> dict[str, Any]:
    """Change a saved query."""
    async with deps.sessions.begin() as session:
        query = await queries.writable(session, viewer, query_id)
        await queries.modify(session, query, body.fields(), now=deps.clock())
        details = {"query_id": query.id, "query_name": query.name}
        await activities.record(session, viewer, "edited_saved_query", details)
        return await query_answer(session, query)


@router.delete("/queries/id/{query_id:int}")
async def delete_query_by_id(deps: DepsDep, viewer: ViewerDep, query_id: Id) -> dict[str, Any]:
    """Delete a saved query."""
    async with deps.sessions.begin() as session:
        query = await queries.writable(session, viewer, query_id)
        await queries.remove(session, [query])
        await activities.record(session, viewer, "deleted_saved_query", {"query_name": query.name})
    return {}


@router.delete("/queries/{name:path}")
async def delete_query(deps: DepsDep, viewer: ViewerDep, name: str) -> dict[str, Any]:
    """Delete a global query by its name."""
    authorize_any(viewer, Action.WRITE_QUERIES)
    authorize(viewer, Action.WRITE_QUERIES)
    async with deps.sessions.begin() as session:
        query = await query_store.by_name(session, name, None)
        if query is None:
            raise Missing("Query", name)
        await queries.remove(session, [query])
        await activities.record(session, viewer, "deleted_saved_query", {"query_name": query.name})
    return {}


class DeleteBody(ApiBody):
    """Which queries to delete."""

    ids: list[Number] = Field(default_factory=list)


@router.post("/queries/delete")
async def delete_queries(deps: DepsDep, viewer: ViewerDep, body: DeleteBody) -> dict[str, int]:
    """Delete several saved queries, or none when one of them is unknown or forbidden."""
    authorize_any(viewer, Action.WRITE_QUERIES)
    async with deps.sessions.begin() as session:
        found = await query_store.by_ids(session, body.ids)
        unknown = set(body.ids) - {query.id for query in found}
        if unknown:
            raise Missing("Query", min(unknown))
        for query in found:
            authorize(viewer, Action.WRITE_QUERIES, Subject(query.team_id))
        await queries.remove(session, found)
        ids = [query.id for query in found]
        await activities.record(session, viewer, "deleted_multiple_saved_query", {"query_ids": ids})
    return {"deleted": len(found)}

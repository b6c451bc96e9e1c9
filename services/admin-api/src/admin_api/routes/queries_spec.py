"""Query specs, as the command line applies and prints them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query as Parameter
from flotilla_common.db.models.admin_api import Query, Team
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import DepsDep
from admin_api.domain import activities, queries_spec
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any
from admin_api.errors import BadRequest, Missing
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.queries import FieldsBody
from admin_api.routes.versions import Flag, members_router
from admin_api.store import queries as query_store

router = members_router("queries")


class SpecBody(FieldsBody):
    """One query; `team` is a name, empty for a global query."""

    team: str = ""


class SpecsBody(ApiBody):
    """Any number of queries; all are applied or none."""

    specs: list[SpecBody] = Field(default_factory=list)


@router.post("/spec/queries")
async def apply_query_specs(deps: DepsDep, viewer: ViewerDep, body: SpecsBody, dry_run: Flag = False) -> dict[str, Any]:
    """Create or change queries by team and name; a dry run only says what is wrong."""
    authorize_any(viewer, Action.WRITE_QUERIES)
    async with deps.sessions.begin() as session:
        for entry in body.specs:
            await queries_spec.apply(session, viewer, entry.fields(), entry.team, now=deps.clock())
        specs = [entry.model_dump(exclude_none=True) for entry in body.specs]
        await activities.record(session, viewer, "applied_spec_saved_query", {"specs": specs})
        if dry_run:
            await session.rollback()
    return {}


async def _spec(session: AsyncSession, query: Query, team: str) -> dict[str, Any]:
    query_id = query.id or 0
    scope = await query_store.labels_by_query(session, [query_id])
    return queries_spec.spec_object(query, team, scope[query_id])


@router.get("/spec/queries")
async def get_query_specs(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Print all global queries."""
    authorize(viewer, Action.READ_QUERIES)
    async with deps.sessions.begin() as session:
        found = await query_store.global_ones(session)
        scope = await query_store.labels_by_query(session, [query.id for query in found if query.id is not None])
        return {"specs": [queries_spec.spec_object(query, "", scope[query.id or 0]) for query in found]}


@router.get("/spec/queries/{name:path}")
async def get_query_spec(
    deps: DepsDep, viewer: ViewerDep, name: str, team_id: Annotated[str, Parameter(description="a team's query")] = ""
) -> dict[str, Any]:
    """Print one query; it stands under the plural key."""
    authorize_any(viewer, Action.READ_QUERIES)
    if team_id and not (team_id.isascii() and team_id.isdigit() and len(team_id) < 19):
        raise BadRequest(f"invalid team_id: {team_id[:100]}")
    team = int(team_id) or None if team_id else None
    authorize(viewer, Action.READ_QUERIES, Subject(team))
    async with deps.sessions.begin() as session:
        query = await query_store.by_name(session, name, team)
        if query is None:
            raise Missing("Query", name)
        row = None if team is None else await session.get(Team, team)
        return {"specs": await _spec(session, query, "" if row is None else row.name)}

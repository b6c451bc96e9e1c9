"""Query specs: what `get queries` prints and `apply` takes back (admin API 11.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flotilla_common.db.models.admin_api import Label, Query
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import queries
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any
from admin_api.domain.queries import QueryFields
from admin_api.domain.viewer import Viewer
from admin_api.errors import Missing
from admin_api.store import queries as query_store
from admin_api.store import teams as team_store

DEFAULTS = QueryFields(
    description="",
    interval=0,
    platform="",
    min_osquery_version="",
    automations_enabled=False,
    logging="snapshot",
    observer_can_run=False,
    discard_data=False,
    labels_include_any=(),
)
"""A spec says everything: what it leaves out gets these."""


def spec_object(query: Query, team: str, scope: Sequence[Label]) -> dict[str, Any]:
    """Return a query in the form that can be applied again; `team` is a name, empty for a global query."""
    return {
        "name": query.name,
        "description": query.description,
        "query": query.query,
        "team": team,
        "interval": query.interval_seconds,
        "observer_can_run": query.observer_can_run,
        "platform": query.platform,
        "min_osquery_version": query.min_osquery_version,
        "automations_enabled": query.automations_enabled,
        "logging": query.logging,
        "discard_data": query.discard_data,
        "labels_include_any": [label.name for label in scope],
    }


async def apply(session: AsyncSession, viewer: Viewer, fields: QueryFields, team: str, *, now: datetime) -> Query:
    """Create or change the query of this name in this team.

    Raises:
        Forbidden: the viewer may not write there.
        Missing: there is no such team.
        BadRequest: a field is wrong.

    """
    authorize_any(viewer, Action.WRITE_QUERIES)
    queries.verify(fields, creating=True)
    team_id = await team_id_of(session, team)
    authorize(viewer, Action.WRITE_QUERIES, Subject(team_id))
    given = {name: value for name, value in vars(fields).items() if value is not None}
    complete = replace(DEFAULTS, **given)
    known = await query_store.by_name(session, fields.name or "", team_id)
    if known is None:
        return await queries.create(session, viewer, complete, team_id)
    await queries.modify(session, known, complete, now=now)
    return known


async def team_id_of(session: AsyncSession, name: str) -> int | None:
    """Return a team's id by name; empty is the global scope.

    Raises:
        Missing: there is no such team.

    """
    if not name:
        return None
    team = await team_store.find_by_name(session, name)
    if team is None:
        raise Missing("Team", name)
    return team.id

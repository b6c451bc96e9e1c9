"""Saved queries: checked, stored, changed, removed (admin API part 11)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.contracts.definitions import QueryChangedV1
from flotilla_common.db import outbox
from flotilla_common.db.models.admin_api import Label, Query, Team
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import names
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any
from admin_api.domain.viewer import Viewer
from admin_api.errors import AlreadyExists, BadRequest, Missing
from admin_api.store import labels, queries

LOGGING = ("snapshot", "differential", "differential_ignore_removals")
_ASKS = ("query", "platform", "min_osquery_version")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,3}([-+.][0-9A-Za-z.+-]+)?")
_DEAD_PREFIXES = ("query.", "cache.", "config_views.")
_DEAD_ENDINGS = ("epoch", "counter")


@dataclass(frozen=True)
class QueryFields:
    """What a body says about a query; None means that it says nothing."""

    name: str | None = None
    query: str | None = None
    description: str | None = None
    interval: int | None = None
    platform: str | None = None
    min_osquery_version: str | None = None
    automations_enabled: bool | None = None
    logging: str | None = None
    observer_can_run: bool | None = None
    discard_data: bool | None = None
    labels_include_any: Sequence[str] | None = None

    def columns(self) -> dict[str, Any]:
        """Return the table's columns that are to be set."""
        given = {
            "name": None if self.name is None else unicodedata.normalize("NFC", self.name),
            "query": self.query,
            "description": self.description,
            "interval_seconds": self.interval,
            "platform": None if self.platform is None else self.platform.replace(" ", ""),
            "min_osquery_version": self.min_osquery_version,
            "automations_enabled": self.automations_enabled,
            "logging": self.logging or (None if self.logging is None else LOGGING[0]),
            "observer_can_run": self.observer_can_run,
            "discard_data": self.discard_data,
        }
        return {column: value for column, value in given.items() if value is not None}


def verify(fields: QueryFields, *, creating: bool) -> None:
    """Check what a body says.

    Raises:
        BadRequest: something is missing or wrong.

    """
    complaint = _complaint_of_text(fields, creating=creating) or _complaint_of_schedule(fields)
    if complaint is not None:
        raise BadRequest(f"query payload verification: {complaint}")


def _complaint_of_text(fields: QueryFields, *, creating: bool) -> str | None:
    name, sql = fields.name, fields.query
    if (creating and name is None) or (name is not None and not name.strip()):
        return "query name cannot be empty"
    if name is not None and len(name) > names.LONGEST:
        return f"query name may not be longer than {names.LONGEST} characters"
    if name is not None and is_dead_name(name):
        return "query name must not start with query., cache. or config_views., nor end in epoch or counter"
    if (creating and sql is None) or (sql is not None and not sql.strip()):
        return "query's SQL query cannot be empty"
    return None


def _complaint_of_schedule(fields: QueryFields) -> str | None:
    if fields.platform and not set(fields.platform.replace(" ", "").split(",")) <= set(queries.PLATFORMS):
        return (
            "query's platform must be a comma-separated list of 'darwin', 'linux', 'windows', and/or 'chrome' in a "
            "single string"
        )
    if fields.logging and fields.logging not in LOGGING:
        return "invalid logging value, must be one of 'snapshot', 'differential', 'differential_ignore_removals'"
    if fields.min_osquery_version and not _VERSION.fullmatch(fields.min_osquery_version):
        return "min_osquery_version must be empty or a version"
    return None


def is_dead_name(name: str) -> bool:
    """Whether new osqueryd builds never run a scheduled query of this name: it collides with their internal keys."""
    return name.startswith(_DEAD_PREFIXES) or name.endswith(_DEAD_ENDINGS)


def query_object(query: Query, scope: Sequence[Label]) -> dict[str, Any]:
    """Return a query as the API shows it."""
    return {
        "created_at": query.created_at,
        "updated_at": query.updated_at,
        "id": query.id,
        "team_id": query.team_id,
        "interval": query.interval_seconds,
        "platform": query.platform,
        "min_osquery_version": query.min_osquery_version,
        "automations_enabled": query.automations_enabled,
        "logging": query.logging,
        "name": query.name,
        "description": query.description,
        "query": query.query,
        "saved": query.saved,
        "observer_can_run": query.observer_can_run,
        "author_id": query.author_id,
        "author_name": query.author_name,
        "author_email": query.author_email,
        "packs": [],
        "stats": {
            "system_time_p50": None,
            "system_time_p95": None,
            "user_time_p50": None,
            "user_time_p95": None,
            "total_executions": 0,
        },
        "discard_data": query.discard_data,
        "labels_include_any": [{"id": label.id, "name": label.name} for label in scope],
    }


async def readable(session: AsyncSession, viewer: Viewer, query_id: int) -> Query:
    """Return a query that the viewer may read; an ad hoc one only to the person who ran it.

    Raises:
        Forbidden: the viewer may read no queries, or not this team's.
        Missing: there is no such query.

    """
    authorize_any(viewer, Action.READ_QUERIES)
    query = await queries.by_id(session, query_id)
    if query is None or not (query.saved or query.author_id == viewer.user_id):
        raise Missing("Query", query_id)
    authorize(viewer, Action.READ_QUERIES, Subject(query.team_id))
    return query


async def writable(session: AsyncSession, viewer: Viewer, query_id: int) -> Query:
    """Return a saved query that the viewer may change.

    Raises:
        Forbidden: the viewer may write no queries, or not this team's.
        Missing: there is no such query.

    """
    authorize_any(viewer, Action.WRITE_QUERIES)
    query = await queries.by_id(session, query_id)
    if query is None or not query.saved:
        raise Missing("Query", query_id)
    authorize(viewer, Action.WRITE_QUERIES, Subject(query.team_id))
    return query


async def create(session: AsyncSession, viewer: Viewer, fields: QueryFields, team_id: int | None) -> Query:
    """Store a saved query.

    Raises:
        Forbidden: the viewer may not write queries there.
        BadRequest: a field is wrong, or a label unknown.
        Missing: there is no such team.
        AlreadyExists: the name is taken in this scope.

    """
    authorize(viewer, Action.WRITE_QUERIES, Subject(team_id))
    verify(fields, creating=True)
    # The lock keeps the team until the query is in: nobody would remove the query of a team that is gone.
    if team_id is not None and await session.get(Team, team_id, with_for_update={"read": True}) is None:
        raise Missing("Team", team_id)
    query = Query(team_id=team_id, author_id=viewer.user_id, author_name=viewer.name, author_email=viewer.email)
    await _write(session, query, fields)
    return query


async def modify(session: AsyncSession, query: Query, fields: QueryFields, *, now: datetime) -> None:
    """Change a saved query; its team stays. Results of what it asked before are none of it any more.

    Raises:
        BadRequest: a field is wrong, or a label unknown.
        AlreadyExists: the new name is taken.

    """
    verify(fields, creating=False)
    query.updated_at = now
    if _voids_results(query, fields.columns()):
        query.results_since = now
    await _write(session, query, fields)


def _voids_results(query: Query, columns: dict[str, Any]) -> bool:
    """Whether a change asks something else, or says that results are not to be kept (11.2)."""
    asks_else = any(columns.get(name, getattr(query, name)) != getattr(query, name) for name in _ASKS)
    discards = columns.get("discard_data", False) and not query.discard_data
    return asks_else or discards or (query.logging == LOGGING[0] and columns.get("logging", LOGGING[0]) != LOGGING[0])


async def _write(session: AsyncSession, query: Query, fields: QueryFields) -> None:
    columns = fields.columns()
    if "name" in columns and columns["name"] != query.name:
        other = await queries.by_name(session, columns["name"], query.team_id)
        if other is not None and other.id != query.id:
            raise AlreadyExists("Query", columns["name"])
    for column, value in columns.items():
        setattr(query, column, value)
    session.add(query)
    await session.flush()
    if fields.labels_include_any is not None:
        await queries.set_labels(session, query.id or 0, await _label_ids(session, fields.labels_include_any))
    await session.refresh(query)
    await outbox.add(session, QueryChangedV1(query_id=query.id or 0, team_id=query.team_id))


async def _label_ids(session: AsyncSession, names: Collection[str]) -> list[int]:
    wanted = {name for name in names if name}
    found = await labels.by_names(session, wanted, lock=True)
    known = {label.name.lower() for label in found}
    unknown = sorted(name for name in wanted if name.lower() not in known)
    if unknown:
        raise BadRequest(f"invalid label names: {', '.join(unknown)}")
    return [label.id for label in found if label.id is not None]


async def remove(session: AsyncSession, removed: Sequence[Query]) -> None:
    """Delete saved queries."""
    await queries.remove(session, [query.id for query in removed if query.id is not None])
    events = [QueryChangedV1(query_id=query.id or 0, team_id=query.team_id, deleted=True) for query in removed]
    await outbox.add(session, *events)

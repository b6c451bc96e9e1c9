"""The layers as admin-api keeps them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from flotilla_common.db.models.admin_api import AppConfig, Label, Query, QueryLabel, Team
from sqlalchemy import ColumnElement, Row, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


@dataclass(frozen=True)
class TeamRow:
    """A team's agent options; `has_options` tells JSON null from no value."""

    agent_options: Any
    has_options: bool
    merge_mode: str


@dataclass(frozen=True)
class AppConfigRow:
    """The installation's part: agent options (SQL null when cleared), whether query reports are kept, and the rest."""

    agent_options: Any
    reports_enabled: bool
    document: dict[str, Any]


async def app_config(session: AsyncSession) -> AppConfigRow | None:
    """Return the app config; None before it was ever stored."""
    found = await session.execute(select(col(AppConfig.agent_options), col(AppConfig.document)))
    row = found.one_or_none()
    if row is None:
        return None
    document = row.document if isinstance(row.document, dict) else {}
    server = document.get("server_settings")
    is_disabled = isinstance(server, dict) and server.get("query_reports_disabled") is True
    return AppConfigRow(row.agent_options, not is_disabled, document)


async def teams(session: AsyncSession, team_ids: Collection[int]) -> dict[int, TeamRow]:
    """Return the teams that exist, by id."""
    statement = select(
        col(Team.id),
        col(Team.agent_options),
        col(Team.agent_options).is_not(None).label("has_options"),
        col(Team.merge_mode),
    ).where(col(Team.id).in_(sorted(team_ids)))
    return {
        row.id: TeamRow(row.agent_options, row.has_options, row.merge_mode) for row in await session.execute(statement)
    }


async def label_ids(session: AsyncSession, among: Collection[int]) -> dict[str, int]:
    """Return name -> id of those of the labels that exist."""
    found = await session.execute(select(col(Label.name), col(Label.id)).where(col(Label.id).in_(sorted(among))))
    return {row.name: row.id for row in found}


async def scheduled_queries(session: AsyncSession, team_ids: Collection[int]) -> list[Row[Any]]:
    """Return saved queries with an interval, global ones and those of the teams, each with its `labels`."""
    belongs: ColumnElement[bool] = or_(col(Query.team_id).is_(None), col(Query.team_id).in_(sorted(team_ids)))
    labels: Any = func.array_agg(aggregate_order_by(col(QueryLabel.label_id), col(QueryLabel.label_id)))
    statement = (
        select(Query, labels.filter(col(QueryLabel.label_id).is_not(None)).label("labels"))
        .join(QueryLabel, col(QueryLabel.query_id) == col(Query.id), isouter=True)
        .where(col(Query.saved), col(Query.interval_seconds) > 0, belongs)
        .group_by(col(Query.id))
        .order_by(col(Query.id))
    )
    return list((await session.execute(statement)).all())

"""What admin-api's tables say about teams, labels and scoped queries."""

from __future__ import annotations

from flotilla_common.db.models.admin_api import AppConfig, Label, Query, QueryLabel, Team
from sqlalchemy import ColumnElement, Text, cast, exists, func, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

EXTENSION_LABELS = '$.extensions.*.labels[*] ? (@.type() == "string")'


async def team_exists(session: AsyncSession, team_id: int) -> bool:
    """Whether there is such a team."""
    return bool(await session.scalar(select(exists().where(col(Team.id) == team_id))))


async def label(session: AsyncSession, label_id: int) -> Label | None:
    """Return a label's definition."""
    return await session.get(Label, label_id)


async def scoping_labels(session: AsyncSession) -> frozenset[int]:
    """Return the existing labels that scope a saved query with an interval, or an extension in agent options."""
    of_extensions = await session.execute(select(col(Label.id)).where(_is_named_by_extensions()))
    return frozenset(label_id for label_id in of_extensions.scalars() if label_id is not None) | await _of_queries(
        session
    )


def _is_named_by_extensions() -> ColumnElement[bool]:
    """Whether some extension of any agent options lists the label; people can force other things in there."""
    documents = (col(Team.agent_options), col(AppConfig.agent_options))
    names = (func.jsonb_path_query(document, cast(EXTENSION_LABELS, JSONPATH)) for document in documents)
    texts = union_all(*(select(name.op("#>>", return_type=Text())(literal_column("'{}'"))) for name in names))
    return col(Label.name).in_(texts)


async def _of_queries(session: AsyncSession) -> frozenset[int]:
    statement = (
        select(col(QueryLabel.label_id))
        .join(Query, col(Query.id) == col(QueryLabel.query_id))
        .join(Label, col(Label.id) == col(QueryLabel.label_id))
        .where(col(Query.saved), col(Query.interval_seconds) > 0)
        .distinct()
    )
    return frozenset((await session.execute(statement)).scalars())

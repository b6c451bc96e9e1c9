"""Which classes have hosts, as inventory's tables say."""

from __future__ import annotations

from typing import Any

from flotilla_common.contracts.plans import class_key
from flotilla_common.db.models.inventory import Host, LabelMembership, ScopeLabel
from sqlalchemy import BigInteger, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def keys(session: AsyncSession) -> list[str]:
    """Return the keys of the classes that at least one host is in."""
    labels: Any = func.array(
        select(col(LabelMembership.label_id))
        .join(ScopeLabel, col(ScopeLabel.label_id) == col(LabelMembership.label_id))
        .where(col(LabelMembership.host_id) == col(Host.id))
        .order_by(col(LabelMembership.label_id))
        .correlate(Host)
        .scalar_subquery(),
        type_=ARRAY(BigInteger),
    ).label("labels")
    statement = select(col(Host.team_id), col(Host.platform), labels).distinct()
    return [class_key(row.team_id, row.platform, tuple(row.labels)) for row in await session.execute(statement)]

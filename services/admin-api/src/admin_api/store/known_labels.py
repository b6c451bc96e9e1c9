"""Which label names exist, for those that only mention labels."""

from __future__ import annotations

from collections.abc import Sequence

from flotilla_common.db.models.admin_api import Label
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def missing_of(session: AsyncSession, names: Sequence[str]) -> list[str]:
    """Return those of the names that no label has."""
    if not names:
        return []
    known = set(await session.scalars(select(col(Label.name)).where(col(Label.name).in_(names))))
    return [name for name in names if name not in known]

"""Table app_config: one row, made by setup."""

from __future__ import annotations

from flotilla_common.db.models.admin_api import AppConfig
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

SETUP_LOCK = 0x5E7095  # any number; one for the one thing that is guarded


async def lock_setup(session: AsyncSession) -> None:
    """Let one setup run at a time."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SETUP_LOCK})


async def once(session: AsyncSession) -> AppConfig:
    """Return the row as this session has read it first: a request that asks several things of it asks Postgres once."""
    row: AppConfig | None = session.info.get(AppConfig)
    if row is None:
        row = session.info[AppConfig] = await get(session)
    return row


async def get(session: AsyncSession, *, lock: bool = False) -> AppConfig:
    """Return the row; before setup it is empty."""
    statement = select(AppConfig).where(col(AppConfig.id) == 1)
    row = (await session.scalars(statement.with_for_update() if lock else statement)).one_or_none()
    if row is not None:
        return row
    await session.execute(insert(AppConfig).values(id=1, document={}).on_conflict_do_nothing())
    return (await session.scalars(statement.with_for_update() if lock else statement)).one()

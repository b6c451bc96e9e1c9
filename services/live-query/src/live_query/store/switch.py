"""Whether an administrator has turned live queries off, as admin-api has written it."""

from __future__ import annotations

from flotilla_common.contracts.campaigns import Switch
from flotilla_common.db.models.admin_api import AppConfig
from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def read(session: AsyncSession) -> Switch:
    """Return it with the database's time. Until the transaction ends nobody else reads it so: words stay in order."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('live_query.switch', 0))"))
    disabled = _disabled().scalar_subquery()
    halted, at = (await session.execute(select(disabled, func.extract("epoch", func.clock_timestamp())))).one()
    return Switch(halted=bool(halted), at=float(at))


async def is_off(session: AsyncSession) -> bool:
    """Whether it is off now, without waiting for anybody: gateways are halted anyway if it is turned meanwhile."""
    return bool(await session.scalar(_disabled()))


def _disabled() -> Select[bool | None]:
    return select(col(AppConfig.live_query_disabled)).where(col(AppConfig.id) == 1)

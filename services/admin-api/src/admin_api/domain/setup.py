"""The first admin."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.store import users


async def is_set_up(session: AsyncSession) -> bool:
    """Tell whether any user exists."""
    return await users.count(session) > 0

"""Enroll secrets, which admin-api keeps: found by lookup hash alone, never read in clear."""

from __future__ import annotations

from flotilla_common.db.models.admin_api import EnrollSecret
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def find(session: AsyncSession, lookup_hash: bytes) -> EnrollSecret | None:
    """Return the secret with this lookup hash (`contracts.secrets_at_rest`)."""
    found = await session.execute(select(EnrollSecret).where(col(EnrollSecret.lookup_hash) == lookup_hash))
    return found.scalar_one_or_none()

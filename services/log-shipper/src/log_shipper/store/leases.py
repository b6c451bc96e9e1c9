"""Leases among replicas; and turns, for a transaction."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from flotilla_common.db import leases
from flotilla_common.db.leases import Lease
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

THROWING_AWAY = "throwing away"  # what of the stream nobody needs; whoever needs it again takes turns with that


def hold(engine: AsyncEngine, name: str) -> AbstractAsyncContextManager[Lease]:
    """Wait until no other log-shipper holds the lease, then hold it."""
    return leases.hold(engine.url, _whole(name))


async def take_turns(session: AsyncSession, name: str) -> None:
    """Wait for whoever does the same, until their transaction ends; then keep others waiting, until this one does."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": _whole(name)})


def _whole(name: str) -> str:
    return f"log_shipper.{name}"

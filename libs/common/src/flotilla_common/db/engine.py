"""The async engine on psycopg 3, and what counts as an outage of Postgres."""

from __future__ import annotations

import psycopg
import sqlalchemy.exc
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from flotilla_common.bus import outage
from flotilla_common.settings import DatabaseSettings

outage.register(
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)

STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Return an engine whose connections are checked before use, so that a restarted Postgres costs nothing."""
    return create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        pool_pre_ping=True,
        pool_timeout=5,
        connect_args={
            "connect_timeout": 3,
            "application_name": settings.nats_user,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC",
        },
    )


def session_maker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return the maker of sessions; `async with sessions.begin() as session:` is one transaction."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def check(engine: AsyncEngine) -> str | None:
    """Readiness: does Postgres answer?."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return None

"""When hosts were last seen, and when lines of them last came: the narrow table that changes all the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flotilla_common.db.models.inventory import Host, HostSeen, log_gap_clause
from psycopg import AsyncConnection
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store.arrays import is_any_of

SEEN_LOCK = 0x5EE4  # one writer at a time, in whatever process
MAKE_INCOMING = text(
    "CREATE TEMPORARY TABLE IF NOT EXISTS incoming_seen (host_id bigint, seen_at timestamptz, logged_at timestamptz) "
    "ON COMMIT DELETE ROWS"
)
COPY_INCOMING = "COPY incoming_seen (host_id, seen_at, logged_at) FROM STDIN"
# A row that is locked belongs to a host that enrolls or goes away right now: passing it over costs nothing.
UPDATE_SEEN = text(
    """
    WITH free AS (
        SELECT seen.host_id, incoming.seen_at, incoming.logged_at
        FROM inventory.host_seen AS seen JOIN incoming_seen AS incoming USING (host_id)
        WHERE seen.seen_at < incoming.seen_at OR seen.logged_at < incoming.logged_at
            OR seen.logged_at IS NULL AND incoming.logged_at IS NOT NULL
        FOR UPDATE OF seen SKIP LOCKED
    )
    UPDATE inventory.host_seen AS seen
    SET seen_at = greatest(seen.seen_at, free.seen_at), logged_at = greatest(seen.logged_at, free.logged_at)
    FROM free WHERE seen.host_id = free.host_id
    RETURNING seen.host_id
    """
)


async def last(session: AsyncSession, host_id: int) -> datetime | None:
    """Return when a host was last seen."""
    return (await session.execute(select(col(HostSeen.seen_at)).where(col(HostSeen.host_id) == host_id))).scalar()


async def touch_many(session: AsyncSession, seen: Iterable[tuple[int, datetime, datetime | None]]) -> int:
    """Set when hosts were seen and logged, each given once; return how many rows that changed. Never makes a row."""
    await session.execute(select(func.pg_advisory_xact_lock(SEEN_LOCK)))
    await session.execute(MAKE_INCOMING)
    async with (await _driver(session)).cursor() as cursor, cursor.copy(COPY_INCOMING) as copy:
        for row in seen:
            await copy.write_row(row)
    return len((await session.execute(UPDATE_SEEN)).all())


@dataclass(frozen=True)
class LogGaps:
    """How many hosts are online whose log lines stopped coming, and how many that never sent any."""

    stopped: int
    never: int


async def log_gaps(session: AsyncSession, now: datetime, longest: timedelta) -> LogGaps:
    """Count the hosts that are online and of which no line came for so long."""
    never = col(HostSeen.logged_at).is_(None)
    statement = (
        select(func.count().filter(~never), func.count().filter(never))
        .select_from(Host)
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(log_gap_clause(now, longest))
    )
    return LogGaps(*(await session.execute(statement)).one())


async def remove(session: AsyncSession, host_ids: Sequence[int]) -> None:
    """Forget when locked hosts were seen."""
    await session.execute(delete(HostSeen).where(is_any_of(col(HostSeen.host_id), host_ids)))


async def _driver(session: AsyncSession) -> AsyncConnection:
    """Return psycopg's connection under the session: SQLAlchemy has no COPY."""
    raw = await (await session.connection()).get_raw_connection()
    driver = raw.driver_connection
    if not isinstance(driver, AsyncConnection):
        message = f"psycopg expected, got {type(driver).__name__}"
        raise TypeError(message)
    return driver

"""The intervals in host rows. Gateways' records do not carry them, so that no revision is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

Group = tuple[int | None, str]
"""Team and platform."""


@dataclass(frozen=True)
class Intervals:
    """Seconds."""

    distributed: int
    config_refresh: int
    logger_tls_period: int


# A row that is locked is changed by somebody else right now: the next look at all hosts finds it.
WRITE = text(
    """
    WITH planned AS (
        SELECT * FROM unnest(
            CAST(:teams AS bigint[]), CAST(:platforms AS text[]), CAST(:distributed AS bigint[]),
            CAST(:config_refresh AS bigint[]), CAST(:logger_tls_period AS bigint[])
        ) AS planned(team, platform, distributed, config_refresh, logger_tls_period)
    ), other AS (
        SELECT host.id, planned.distributed, planned.config_refresh, planned.logger_tls_period
        FROM inventory.hosts AS host
        JOIN planned ON coalesce(host.team_id, 0) = planned.team AND host.platform = planned.platform
        WHERE host.distributed_interval_seconds <> planned.distributed
           OR host.config_refresh_seconds <> planned.config_refresh
           OR host.logger_tls_period_seconds <> planned.logger_tls_period
        ORDER BY host.id LIMIT :most
        FOR UPDATE OF host SKIP LOCKED
    )
    UPDATE inventory.hosts AS host
    SET distributed_interval_seconds = other.distributed,
        config_refresh_seconds = other.config_refresh,
        logger_tls_period_seconds = other.logger_tls_period
    FROM other WHERE host.id = other.id
    RETURNING host.id
    """
)


async def write(session: AsyncSession, groups: Mapping[Group, Intervals], most: int) -> int:
    """Write intervals to at most so many hosts that have others; return to how many."""
    values = {
        "teams": [team_id or 0 for team_id, _ in groups],
        "platforms": [platform for _, platform in groups],
        "distributed": [intervals.distributed for intervals in groups.values()],
        "config_refresh": [intervals.config_refresh for intervals in groups.values()],
        "logger_tls_period": [intervals.logger_tls_period for intervals in groups.values()],
        "most": most,
    }
    return len((await session.execute(WRITE, values)).all())

"""What is known of single hosts' logs: lines that they say they threw away, and whose lines stopped coming.

Reads `log_shipper.host_losses` and `inventory.host_seen`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flotilla_common.db.models.inventory import Host, HostSeen, log_gap_clause
from flotilla_common.db.models.log_shipper import HostLoss
from sqlalchemy import BigInteger, ColumnElement, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store import host_scope
from admin_api.store.listing import ListOptions, listed


@dataclass(frozen=True)
class HostLosses:
    """What a host says that it lost; `lines` by kind."""

    host_id: int
    display_name: str
    team_id: int | None
    lines: int
    warnings: int
    kinds: Mapping[str, int]
    first_at: datetime
    last_at: datetime


async def losses(
    session: AsyncSession, where: Sequence[ColumnElement[bool]], options: ListOptions
) -> tuple[list[HostLosses], bool]:
    """Return a page of the hosts that lost lines, and whether there are more."""
    sums = (
        select(
            col(HostLoss.host_id).label("host_id"),
            cast(func.sum(col(HostLoss.lines)), BigInteger).label("lines"),
            cast(func.sum(col(HostLoss.warnings)), BigInteger).label("warnings"),
            func.jsonb_object_agg(col(HostLoss.kind), col(HostLoss.lines)).label("kinds"),
            func.min(col(HostLoss.first_at)).label("first_at"),
            func.max(col(HostLoss.last_at)).label("last_at"),
        )
        .group_by(col(HostLoss.host_id))
        .subquery()
    )
    columns: list[Any] = [sums.c.lines, sums.c.warnings, sums.c.kinds, sums.c.first_at, sums.c.last_at]
    statement = (
        select(col(Host.id), host_scope.display_name(), col(Host.team_id), *columns)
        .join(sums, sums.c.host_id == col(Host.id))
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(*where)
    )
    keys = {name: sums.c[name] for name in ("lines", "warnings", "first_at", "last_at")} | {"host_id": col(Host.id)}
    rows = await session.execute(listed(statement, options, order_keys=keys, row_id=col(Host.id)))
    found = [HostLosses(*row) for row in rows]
    return found[: options.limit], len(found) > options.limit


@dataclass(frozen=True)
class LogGap:
    """A host that is online and of which no line came for long; `logged_at` None: none since it enrolled."""

    host_id: int
    display_name: str
    team_id: int | None
    seen_at: datetime
    logged_at: datetime | None
    enrolled_at: datetime


async def gaps(
    session: AsyncSession,
    where: Sequence[ColumnElement[bool]],
    options: ListOptions,
    now: datetime,
    longest: timedelta,
) -> tuple[list[LogGap], bool]:
    """Return a page of the hosts with a gap, and whether there are more."""
    columns: dict[str, Any] = {
        "seen_at": func.coalesce(col(HostSeen.seen_at), col(Host.created_at)),
        "logged_at": col(HostSeen.logged_at),
        "enrolled_at": col(Host.created_at),
    }
    statement = (
        select(col(Host.id), host_scope.display_name(), col(Host.team_id), *columns.values())
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(log_gap_clause(now, longest), *where)
    )
    keys = {"host_id": col(Host.id)} | columns
    rows = await session.execute(listed(statement, options, order_keys=keys, row_id=col(Host.id)))
    found = [LogGap(*row) for row in rows]
    return found[: options.limit], len(found) > options.limit

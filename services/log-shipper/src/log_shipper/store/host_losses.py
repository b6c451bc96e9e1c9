"""Lines that hosts say they threw away. `log_shipper.host_losses`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flotilla_common.contracts.log_ledger import HostLosses
from flotilla_common.db.models.log_shipper import HostLoss
from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

SUMS = (
    cast(func.coalesce(func.sum(col(HostLoss.lines)), 0), BigInteger),
    cast(func.coalesce(func.sum(col(HostLoss.warnings)), 0), BigInteger),
    func.count(col(HostLoss.host_id).distinct()),
)


async def find(session: AsyncSession, host_id: int, kind: str) -> HostLoss | None:
    """Return what is known of a host."""
    return await session.get(HostLoss, (host_id, kind))


async def put(
    session: AsyncSession, key: tuple[int, str], lines: int, warnings: int, marks: Sequence[Any], at: datetime
) -> None:
    """Set what is known of a host: all lines and warnings of a kind, the newest marks, and when it last said so."""
    host_id, kind = key
    said: dict[str, Any] = {"lines": lines, "warnings": warnings, "marks": marks, "last_at": at}
    statement = insert(HostLoss).values(host_id=host_id, kind=kind, first_at=at, **said)
    await session.execute(statement.on_conflict_do_update(index_elements=["host_id", "kind"], set_=said))


async def total(session: AsyncSession) -> HostLosses:
    """Return the sums of all kinds."""
    row = (await session.execute(select(*SUMS))).one()
    return HostLosses(lines=row[0], warnings=row[1], hosts=row[2])


async def totals(session: AsyncSession) -> Mapping[str, HostLosses]:
    """Return the sums by kind, of those that there are."""
    rows = await session.execute(select(col(HostLoss.kind), *SUMS).group_by(col(HostLoss.kind)))
    return {row[0]: HostLosses(lines=row[1], warnings=row[2], hosts=row[3]) for row in rows}

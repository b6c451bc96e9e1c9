"""The books: lines per destination, log type and hour. `log_shipper.ledger`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from flotilla_common.db.models.log_shipper import LedgerHour
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

Column = Literal["received", "filtered", "delivered", "dead_lettered", "duplicates"]
COLUMNS: tuple[Column, ...] = ("received", "filtered", "delivered", "dead_lettered", "duplicates")
Key = tuple[str, datetime]
"""Log type and hour."""


@dataclass
class Tally:
    """Lines to add to a destination's books."""

    lines: dict[Key, Counter[Column]] = field(default_factory=dict)

    def add(self, log_type: str, hour: datetime, column: Column, lines: int) -> None:
        """Count some lines."""
        self.lines.setdefault((log_type, hour), Counter())[column] += lines


async def add(session: AsyncSession, destination: str, tally: Tally) -> None:
    """Add a tally to a destination's books, in key order (so that two transactions cannot lock each other out)."""
    rows = [
        {"destination": destination, "log_type": log_type, "hour": hour, **{name: count[name] for name in COLUMNS}}
        for (log_type, hour), count in sorted(tally.lines.items())
    ]
    if not rows:
        return
    statement = insert(LedgerHour).values(rows)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["destination", "log_type", "hour"],
            set_={name: getattr(LedgerHour, name) + statement.excluded[name] for name in COLUMNS},
        )
    )


async def totals(session: AsyncSession) -> Mapping[tuple[str, str], Counter[Column]]:
    """Return (destination, log type) -> what the books say, over all hours."""
    sums = [func.sum(getattr(LedgerHour, name)) for name in COLUMNS]
    rows = await session.execute(
        select(col(LedgerHour.destination), col(LedgerHour.log_type), *sums).group_by(
            col(LedgerHour.destination), col(LedgerHour.log_type)
        )
    )
    return {
        (row[0], row[1]): Counter({name: int(value) for name, value in zip(COLUMNS, row[2:], strict=True)})
        for row in rows
    }

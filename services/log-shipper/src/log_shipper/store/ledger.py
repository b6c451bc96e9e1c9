"""The books: lines per destination, log type and hour. `log_shipper.ledger`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

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

    def repeated(self) -> Tally:
        """Return what a replay of these lines means: they had been counted before, and every copy is one too many."""
        found = Tally()
        for (log_type, hour), count in self.lines.items():
            found.add(log_type, hour, "duplicates", count["delivered"] + count["duplicates"])
        return found

    def revived(self) -> Tally:
        """Return what it means that these lines were dead letters."""
        found = Tally()
        for (log_type, hour), count in self.lines.items():
            found.add(log_type, hour, "delivered", count["delivered"])
            found.add(log_type, hour, "dead_lettered", -count["delivered"])
            found.add(log_type, hour, "duplicates", count["duplicates"])
        return found


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


Total = tuple[str, str, datetime | None]
"""Destination, log type, and the hour; None: all hours."""


async def totals(session: AsyncSession, since: datetime | None = None) -> Mapping[Total, Counter[Column]]:
    """Return what the books say: over all hours, or for each from a moment on."""
    sums = [func.sum(getattr(LedgerHour, name)) for name in COLUMNS]
    keys: list[Any] = [col(LedgerHour.destination), col(LedgerHour.log_type)]
    if since is not None:
        keys.append(col(LedgerHour.hour))
    statement = select(*keys, *sums).group_by(*keys)
    if since is not None:
        statement = statement.where(col(LedgerHour.hour) >= since)
    return {
        (row[0], row[1], row[2] if since is not None else None): Counter(
            {name: int(value) for name, value in zip(COLUMNS, row[len(keys) :], strict=True)}
        )
        for row in await session.execute(statement)
    }

"""What campaigns may cost and have cost: a row each, apart from the campaigns so that counting rewrites little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flotilla_common.contracts.campaigns import Budget
from flotilla_common.db.models.live_query import CampaignBudget
from sqlalchemy import Row, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

_LOCK = text(
    "SELECT 1 FROM live_query.budgets WHERE campaign_id = ANY(CAST(:campaigns AS bigint[]))"
    " ORDER BY campaign_id FOR UPDATE"
)
_CHARGE = text(
    "UPDATE live_query.budgets AS account SET rows = account.rows + more.rows,"
    " bytes = account.bytes + more.bytes, cpu_ms = account.cpu_ms + more.cpu_ms,"
    " failures = account.failures + more.failures, denylisted = account.denylisted + more.denylisted"
    " FROM unnest(CAST(:campaigns AS bigint[]), CAST(:rows AS bigint[]), CAST(:bytes AS bigint[]),"
    " CAST(:cpu_ms AS bigint[]), CAST(:failures AS bigint[]), CAST(:denylisted AS bigint[]))"
    " AS more(campaign_id, rows, bytes, cpu_ms, failures, denylisted)"
    " WHERE account.campaign_id = more.campaign_id RETURNING account.*"
)


@dataclass(frozen=True)
class Spent:
    """What answers came to; sums of them."""

    rows: int = 0
    bytes: int = 0
    cpu_ms: int = 0
    failures: int = 0
    denylisted: int = 0

    def __add__(self, other: Spent) -> Spent:
        """Return the sum."""
        return Spent(
            self.rows + other.rows,
            self.bytes + other.bytes,
            self.cpu_ms + other.cpu_ms,
            self.failures + other.failures,
            self.denylisted + other.denylisted,
        )


@dataclass(frozen=True)
class Account:
    """A campaign's limits and what it has spent."""

    campaign_id: int
    budget: Budget
    spent: Spent


async def add(session: AsyncSession, campaign_id: int, budget: Budget) -> None:
    """Open a campaign's account."""
    await session.execute(insert(CampaignBudget).values(campaign_id=campaign_id, **budget.model_dump()))


async def limit(session: AsyncSession, campaign_id: int, budget: Budget) -> None:
    """Put other limits in the place of a campaign's."""
    limits = budget.model_dump()
    added = upsert(CampaignBudget).values(campaign_id=campaign_id, **limits)
    await session.execute(added.on_conflict_do_update(index_elements=["campaign_id"], set_=limits))


async def lock(session: AsyncSession, campaign_id: int) -> Account | None:
    """Return a campaign's account, which nobody else changes until the transaction ends; None when it has none."""
    statement = select(CampaignBudget).where(col(CampaignBudget.campaign_id) == campaign_id).with_for_update()
    row = await session.scalar(statement.execution_options(populate_existing=True))
    return None if row is None else _account(row)


async def charge(session: AsyncSession, spent: Mapping[int, Spent]) -> list[Account]:
    """Add to what campaigns have spent, and return their accounts, which stay locked until the transaction ends.

    Several are locked first, in one order for everybody, so that nobody waits in a circle.
    """
    if not spent:
        return []
    if len(spent) > 1:
        await session.execute(_LOCK, {"campaigns": list(spent)})
    found = await session.execute(
        _CHARGE,
        {
            "campaigns": list(spent),
            "rows": [one.rows for one in spent.values()],
            "bytes": [one.bytes for one in spent.values()],
            "cpu_ms": [one.cpu_ms for one in spent.values()],
            "failures": [one.failures for one in spent.values()],
            "denylisted": [one.denylisted for one in spent.values()],
        },
    )
    return [_account(row) for row in found]


def _account(row: CampaignBudget | Row[*tuple[Any, ...]]) -> Account:
    limits = {name: getattr(row, name) for name in Budget.model_fields}
    spent = Spent(row.rows, row.bytes, row.cpu_ms, row.failures, row.denylisted)
    return Account(row.campaign_id, Budget(**limits), spent)

"""Budgets: what settled answers cost is counted with them, and who costs more than it may is paused with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.contracts.overruns import CampaignOverBudgetV1
from flotilla_common.db import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from live_query.store import budgets, campaigns, ledger
from live_query.store.budgets import Account, Spent
from live_query.store.ledger import Entry

HOST_CPU_MS = 600_000
"""No more is believed of one host: osquery's watchdog ends a worker long before ten minutes of processor time."""


@dataclass(frozen=True)
class Overrun:
    """A campaign that has been paused, by which budget first, and what people are told."""

    campaign_id: int
    budget: str
    reason: str


async def book(session: AsyncSession, entries: Sequence[Entry], *, now: datetime) -> list[Overrun]:
    """Settle the ledger by these entries and charge what they cost; pause whoever is above a limit by now.

    Only what changes the ledger is charged, in its transaction: neither a repeat nor a crash counts an answer twice or
    never, and no answer is settled without the pause that it causes.
    """
    settled = await ledger.settle(session, entries)
    spent: dict[int, Spent] = {}
    for entry in entries:
        if (entry.campaign_id, entry.host_id) in settled:
            spent[entry.campaign_id] = spent.get(entry.campaign_id, Spent()) + cost_of(entry)
    overruns = [one for account in await budgets.charge(session, spent) if (one := overrun_of(account)) is not None]
    paused = [one for one in overruns if await campaigns.pause(session, one.campaign_id, one.reason, now)]
    told = [CampaignOverBudgetV1(campaign_id=one.campaign_id, budget=one.budget, reason=one.reason) for one in paused]
    await outbox.add(session, *told)
    return paused


def cost_of(entry: Entry) -> Spent:
    """Return what one host's answer cost: rows and bytes as it sent them, not as they were kept."""
    return Spent(
        rows=entry.sent_rows,
        bytes=entry.sent_bytes,
        cpu_ms=cpu_ms_of(entry.stats),
        failures=int(entry.outcome == "failed"),
        denylisted=int(entry.outcome == "denylisted"),
    )


def cpu_ms_of(stats: dict[str, float] | None) -> int:
    """Return the processor time that a host claims, user and system, from 0 to HOST_CPU_MS. Each part is hostile."""
    parts = [(stats or {}).get(name, 0.0) for name in ("user_time", "system_time")]
    return int(min(sum(min(max(part, 0.0), HOST_CPU_MS) for part in parts), HOST_CPU_MS))


def overrun_of(account: Account) -> Overrun | None:
    """Say which limits an account is above, by how much; None: none."""
    pairs = {
        "rows": (account.budget.max_rows, account.spent.rows),
        "bytes": (account.budget.max_bytes, account.spent.bytes),
        "cpu_ms": (account.budget.max_cpu_ms, account.spent.cpu_ms),
        "failures": (account.budget.max_failures, account.spent.failures),
        "denylisted": (account.budget.max_denylisted, account.spent.denylisted),
    }
    above = {
        name: f"max_{name} is {most}, {spent} came" for name, (most, spent) in pairs.items() if _is_above(most, spent)
    }
    if not above:
        return None
    return Overrun(account.campaign_id, next(iter(above)), f"over budget: {'; '.join(above.values())}")


def _is_above(most: int | None, spent: int) -> bool:
    return most is not None and spent > most

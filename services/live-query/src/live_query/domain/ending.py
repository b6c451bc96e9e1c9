"""End campaigns and take hosts out of them, so that every host of a ledger is in exactly one state."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from live_query.domain.budgets import book
from live_query.store import campaigns, ledger
from live_query.store.ledger import End
from live_query.store.rows import ResultRows

COMPLETE = "complete"
DEADLINE = "deadline"


async def close(session: AsyncSession, rows: ResultRows, campaign_id: int, *, now: datetime) -> str | None:
    """Settle all that is pending and mark the campaign complete; return why it ended, None when it was closed before.

    The caller has made sure that every answer from before the deadline is settled, or that nothing is pending. What
    Redis holds of a host that is pending all the same (its message was buried in between) settles it.
    """
    campaign = await campaigns.seize(session, campaign_id)
    if campaign is None or not campaign.open:
        return None
    pending = await ledger.pending_hosts(session, campaign_id)
    await book(session, await rows.kept_for(campaign_id, pending), now=now)
    state: End = "expired" if campaign.end_reason is None else "cancelled"
    left = await ledger.end_campaign(session, campaign_id, state, now)
    reason = campaign.end_reason or (DEADLINE if left else COMPLETE)
    await campaigns.complete(session, campaign_id, reason, now)
    return reason


async def close_settled(session: AsyncSession, campaign_ids: Collection[int], *, now: datetime) -> dict[int, str]:
    """Mark those of these campaigns complete that wait for nobody; return campaign -> why it ended.

    Passed over are those that an answer or another end has locked, and those that were closed before.
    """
    seized = await campaigns.seize_free(session, campaign_ids)
    return await campaigns.complete_settled(session, seized, COMPLETE, now) if seized else {}


async def leave(session: AsyncSession, rows: ResultRows, host_id: int, *, now: datetime) -> int:
    """Settle a deleted host as unreachable wherever it is awaited; return in how many campaigns.

    An answer that Redis has counted already keeps counting.
    """
    waiting = await ledger.campaigns_waiting_for(session, host_id)
    if not waiting:
        return 0
    await campaigns.seize_all(session, waiting)
    kept = [entry for campaign_id in waiting for entry in await rows.kept_for(campaign_id, [host_id])]
    await book(session, kept, now=now)
    left = await ledger.end_host(session, host_id, waiting, now)
    await campaigns.notify(session, waiting)
    return left

"""Settle answers: Redis first, then the ledger with what Redis says. Whoever repeats it comes to the same end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.contracts.campaigns import AnswerBatch
from sqlalchemy.ext.asyncio import AsyncSession

from live_query.domain import openings
from live_query.domain.answers import Limits, interpret
from live_query.domain.budgets import Overrun, book
from live_query.store import campaigns, ledger
from live_query.store.campaigns import CampaignState
from live_query.store.ledger import Entry
from live_query.store.rows import ResultRows, Rows

ANSWERED_STATES = frozenset({"answered", "failed", "denylisted"})


@dataclass(frozen=True)
class Received:
    """What one write brought, and when the stream took it: that time decides whether it came before a deadline."""

    batch: AnswerBatch
    stored_at: datetime


@dataclass(frozen=True)
class Settled:
    """How many answers came to what, the campaigns that are above their budgets and paused now, and what counts."""

    tally: Counter[str]
    overruns: list[Overrun]
    entries: list[Entry]
    campaigns: dict[int, CampaignState]


async def settle(
    session: AsyncSession, rows: ResultRows, received: Sequence[Received], limits: Limits, *, now: datetime
) -> Settled:
    """Settle what counts among these answers; return how many came to what, and which campaigns are paused for it.

    Counted are `answered`, `failed`, `denylisted`; `duplicate`: the host has answered before; `late`: after the
    deadline or the end; `foreign`: the host is no target; `unknown`: there is no such campaign.

    A crash between Redis and the commit is repaired by the repeat: Redis still has the first answer, which then
    settles the ledger. The lock keeps the campaign from ending in between.
    """
    tally: Counter[str] = Counter()
    ids = {answer.campaign_id for item in received for answer in item.batch.answers}
    pairs = {(answer.campaign_id, item.batch.host_id) for item in received for answer in item.batch.answers}
    await openings.finish(session, ids)
    known = await campaigns.share(session, ids)
    states = await ledger.states(session, pairs)
    first: dict[tuple[int, int], Rows] = {}
    for item in received:
        for answer in item.batch.answers:
            pair = (answer.campaign_id, item.batch.host_id)
            campaign = known.get(answer.campaign_id)
            verdict = "duplicate" if pair in first else refusal(campaign, states.get(pair), item.stored_at)
            if verdict is not None or campaign is None:
                tally[verdict or "unknown"] += 1
                continue
            entry, kept = interpret(item.batch.host_id, answer, limits, settled_at=now)
            first[pair] = Rows(entry, kept)
    ordered = [first[pair] for pair in sorted(first)]  # whoever locks rows of the ledger does it in one order
    winners = await rows.keep(ordered)
    tally["late"] += len(first) - len(winners)
    overruns = await book(session, winners, now=now)
    if winners:
        await campaigns.notify(session, {entry.campaign_id for entry in winners})
    return Settled(tally + Counter(entry.outcome for entry in winners), overruns, winners, known)


def refusal(campaign: CampaignState | None, state: str | None, stored_at: datetime) -> str | None:
    """Say why an answer does not count; None when it does.

    The deadline of a campaign that lives by its viewers is no judge: nobody could move it while live-query or Postgres
    was down and people watched on. Such an answer counts as long as the ledger is not closed and no end is decided.
    """
    if campaign is None:
        return "unknown"
    if state is None:
        return "foreign"
    if state in ANSWERED_STATES:
        return "duplicate"
    lives_by_viewers = campaign.kind == "viewer" and campaign.end_reason is None
    in_time = lives_by_viewers or stored_at <= campaign.deadline
    return None if state == "pending" and campaign.open and in_time else "late"

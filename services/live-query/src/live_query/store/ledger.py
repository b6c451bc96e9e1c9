"""The ledger: one state per campaign and host. Every transition starts from pending and is one statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import Campaign, LedgerRow
from sqlalchemy import BigInteger, any_, cast, exists, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

Outcome = Literal["answered", "failed", "denylisted"]
End = Literal["expired", "cancelled", "unreachable"]
LARGE_TIMEOUT_SECONDS = 120  # for all hosts of a campaign: a million, say


class Entry(msgspec.Struct, frozen=True):
    """What one host's first answer came to; kept in Redis with the rows, then in the ledger."""

    campaign_id: int
    host_id: int
    outcome: Outcome
    settled_at: datetime
    row_count: int = 0
    truncated: bool = False
    error: str = ""
    stats: dict[str, float] | None = None
    sent_rows: int = 0  # before any cut
    sent_bytes: int = 0


async def add_pending(session: AsyncSession, campaign_id: int, host_ids: list[int]) -> None:
    """Insert one pending row per host. Of a broad campaign gateways know already: it must not be too large for ever."""
    await _take_time(session)
    await session.execute(
        text(
            "INSERT INTO live_query.ledger (campaign_id, host_id)"
            " SELECT :campaign_id, host_id FROM unnest(CAST(:host_ids AS bigint[])) AS hosts(host_id)"
        ),
        # As text: to adapt a list of 100,000 numbers one by one takes ten times as long.
        {"campaign_id": campaign_id, "host_ids": "{" + ",".join(map(str, host_ids)) + "}"},
    )


async def states(session: AsyncSession, pairs: Collection[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Return the states of (campaign, host) pairs; those that were never targeted are absent."""
    found = await session.execute(
        text(
            "SELECT campaign_id, host_id, state FROM live_query.ledger"
            " JOIN unnest(CAST(:campaigns AS bigint[]), CAST(:hosts AS bigint[])) AS asked(campaign_id, host_id)"
            " USING (campaign_id, host_id)"
        ),
        {"campaigns": [pair[0] for pair in pairs], "hosts": [pair[1] for pair in pairs]},
    )
    return {(row.campaign_id, row.host_id): row.state for row in found}


async def settle(session: AsyncSession, entries: Sequence[Entry]) -> set[tuple[int, int]]:
    """Settle pending rows by these entries, in one statement; return (campaign, host) of those that were pending."""
    if not entries:
        return set()
    result = await session.execute(
        text(
            "UPDATE live_query.ledger AS row SET state = entry.outcome, row_count = entry.row_count,"
            " truncated = entry.truncated, error = nullif(entry.error, ''), stats = CAST(entry.stats AS jsonb),"
            " settled_at = entry.settled_at"
            " FROM unnest(CAST(:campaigns AS bigint[]), CAST(:hosts AS bigint[]), CAST(:outcomes AS text[]),"
            " CAST(:row_counts AS bigint[]), CAST(:truncated AS boolean[]), CAST(:errors AS text[]),"
            " CAST(:stats AS text[]), CAST(:settled_at AS timestamptz[]))"
            " AS entry(campaign_id, host_id, outcome, row_count, truncated, error, stats, settled_at)"
            " WHERE row.campaign_id = entry.campaign_id AND row.host_id = entry.host_id"
            " AND (row.state = 'pending') IS TRUE"  # in words that no index has: each row is found by its key alone
            " RETURNING row.campaign_id, row.host_id"
        ),
        {
            "campaigns": [entry.campaign_id for entry in entries],
            "hosts": [entry.host_id for entry in entries],
            "outcomes": [entry.outcome for entry in entries],
            "row_counts": [entry.row_count for entry in entries],
            "truncated": [entry.truncated for entry in entries],
            "errors": [entry.error for entry in entries],
            "stats": [None if entry.stats is None else msgspec.json.encode(entry.stats).decode() for entry in entries],
            "settled_at": [entry.settled_at for entry in entries],
        },
    )
    return {(row.campaign_id, row.host_id) for row in result}


async def note_offered(session: AsyncSession, campaign_id: int, host_ids: list[int], now: datetime) -> None:
    """Note since when pending hosts have had the query. Rows that are being settled are passed over, not waited for."""
    await session.execute(
        text(
            "UPDATE live_query.ledger SET offered_at = :now WHERE campaign_id = :campaign_id AND host_id IN ("
            "SELECT host_id FROM live_query.ledger WHERE campaign_id = :campaign_id"
            " AND host_id = ANY(CAST(:host_ids AS bigint[])) AND state = 'pending' AND offered_at IS NULL"
            " FOR UPDATE SKIP LOCKED)"
        ),
        {"campaign_id": campaign_id, "host_ids": host_ids, "now": now},
    )


async def pending_hosts(session: AsyncSession, campaign_id: int) -> list[int]:
    """Return the hosts that a campaign still waits for, ascending."""
    statement = select(col(LedgerRow.host_id)).where(
        col(LedgerRow.campaign_id) == campaign_id, col(LedgerRow.state) == "pending"
    )
    return list((await session.execute(statement.order_by(col(LedgerRow.host_id)))).scalars())


async def campaigns_waiting_for(session: AsyncSession, host_id: int) -> list[int]:
    """Return the open campaigns that wait for a host, ascending."""
    statement = (
        select(col(LedgerRow.campaign_id))
        .join(Campaign, col(Campaign.id) == col(LedgerRow.campaign_id))
        .where(col(Campaign.status) == "open", col(LedgerRow.host_id) == host_id, col(LedgerRow.state) == "pending")
    )
    return list((await session.execute(statement.order_by(col(LedgerRow.campaign_id)))).scalars())


async def end_campaign(session: AsyncSession, campaign_id: int, state: End, now: datetime) -> int:
    """Settle all that is pending in a campaign; return how many hosts that were."""
    await _take_time(session)
    result = await session.execute(
        text(
            "UPDATE live_query.ledger SET state = :state, settled_at = :now"
            " WHERE campaign_id = :campaign_id AND state = 'pending'"
        ),
        {"campaign_id": campaign_id, "state": state, "now": now},
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


async def end_host(session: AsyncSession, host_id: int, campaign_ids: Collection[int], now: datetime) -> int:
    """Settle as unreachable what these campaigns still wait for from a host."""
    result = await session.execute(
        text(
            "UPDATE live_query.ledger SET state = 'unreachable', settled_at = :now"
            " WHERE host_id = :host_id AND campaign_id = ANY(CAST(:campaigns AS bigint[])) AND state = 'pending'"
        ),
        {"host_id": host_id, "campaigns": list(campaign_ids), "now": now},
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


async def targeted_hosts(session: AsyncSession, campaign_id: int) -> list[int]:
    """Return all hosts of a campaign."""
    statement = select(func.array_agg(col(LedgerRow.host_id))).where(col(LedgerRow.campaign_id) == campaign_id)
    return list((await session.execute(statement)).scalar_one() or ())


async def settled_hosts(session: AsyncSession, campaign_id: int) -> list[int]:
    """Return the hosts of a campaign that it does not wait for any more."""
    statement = select(func.array_agg(col(LedgerRow.host_id))).where(
        col(LedgerRow.campaign_id) == campaign_id, col(LedgerRow.settled_at).is_not(None)
    )
    return list((await session.execute(statement)).scalar_one() or ())


async def settled_counts(session: AsyncSession, campaign_ids: Collection[int]) -> dict[int, int]:
    """Return campaign -> how many hosts it does not wait for any more; those without any are absent."""
    campaign = col(LedgerRow.campaign_id)
    among = campaign == any_(cast(sorted(campaign_ids), ARRAY(BigInteger)))
    statement = select(campaign, func.count()).where(among, col(LedgerRow.settled_at).is_not(None)).group_by(campaign)
    return {row[0]: row[1] for row in await session.execute(statement)}


async def vanished_hosts(session: AsyncSession) -> list[int]:
    """Return hosts that open campaigns wait for though they are deleted."""
    statement = (
        select(col(LedgerRow.host_id))
        .join(Campaign, col(Campaign.id) == col(LedgerRow.campaign_id))
        .where(
            col(Campaign.status) == "open",
            col(LedgerRow.state) == "pending",
            ~exists().where(col(Host.id) == col(LedgerRow.host_id)),
        )
        .distinct()
    )
    return list((await session.execute(statement)).scalars())


async def _take_time(session: AsyncSession) -> None:
    await session.execute(text(f"SET LOCAL statement_timeout = '{LARGE_TIMEOUT_SECONDS}s'"))

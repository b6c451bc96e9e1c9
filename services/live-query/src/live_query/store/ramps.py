"""Which hosts of a ramped campaign may be asked by now: a column of the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta

from flotilla_common.db.models.inventory import Host, HostSeen, online_clause
from flotilla_common.db.models.live_query import Campaign, LedgerRow
from sqlalchemy import BigInteger, ColumnElement, and_, any_, cast, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

SILENT_FOR = timedelta(seconds=60)
"""A released host that does not come for the query is waited for this long."""
TAKEN_FOR = timedelta(minutes=5)
"""One that has taken it and does not answer, this long."""


async def awaited(session: AsyncSession, campaign_id: int, now: datetime) -> int:
    """Return how many released hosts hold others up: those that are pending, and have not had their time yet.

    One that has moved to a team where the campaign asks nobody holds nobody up, unless it took the query before.
    """
    since = col(LedgerRow.released_at)
    taken = and_(col(LedgerRow.offered_at).is_not(None), since > now - TAKEN_FOR)
    statement = (
        select(func.count())
        .select_from(LedgerRow)
        .join(Campaign, col(Campaign.id) == col(LedgerRow.campaign_id))
        .join(Host, col(Host.id) == col(LedgerRow.host_id))
        .where(
            col(LedgerRow.campaign_id) == campaign_id,
            col(LedgerRow.state) == "pending",
            since.is_not(None),
            or_(and_(since > now - SILENT_FOR, _is_asked()), taken),
        )
    )
    return int(await session.scalar(statement) or 0)


async def release(session: AsyncSession, campaign_id: int, count: int, now: datetime) -> int:
    """Release so many pending hosts that are online, by id; return how many there were. Others come when they are.

    A host that has moved to a team where the campaign asks nobody is passed over; it comes when it is back.
    """
    waiting = (
        select(col(LedgerRow.host_id))
        .join(Campaign, col(Campaign.id) == col(LedgerRow.campaign_id))
        .join(Host, col(Host.id) == col(LedgerRow.host_id))
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(
            col(LedgerRow.campaign_id) == campaign_id,
            col(LedgerRow.state) == "pending",
            col(LedgerRow.released_at).is_(None),
            online_clause(now),
            _is_asked(),
        )
        .order_by(col(LedgerRow.host_id))
        .limit(count)
        .with_for_update(of=LedgerRow, skip_locked=True)
    )
    host_ids = list((await session.execute(waiting)).scalars())
    if host_ids:
        chosen = col(LedgerRow.host_id) == any_(cast(host_ids, ARRAY(BigInteger)))
        statement = update(LedgerRow).where(col(LedgerRow.campaign_id) == campaign_id, chosen).values(released_at=now)
        await session.execute(statement.execution_options(synchronize_session=False))
    return len(host_ids)


async def wait_again(session: AsyncSession, since: datetime, now: datetime, campaign_id: int | None = None) -> None:
    """Let released hosts that could not be asked since a time have their time anew, of one open campaign or of all.

    Those that took the query before may have answered all the while; of those that had had their time by then nobody
    waits. Rows that are being settled are passed over.
    """
    await session.execute(
        text(
            "UPDATE live_query.ledger SET released_at = :now WHERE (campaign_id, host_id) IN ("
            "SELECT row.campaign_id, row.host_id FROM live_query.ledger AS row"
            " JOIN live_query.budgets AS account ON account.campaign_id = row.campaign_id"
            " JOIN live_query.campaigns AS campaign ON campaign.id = row.campaign_id"
            " WHERE account.hosts_at_a_time IS NOT NULL AND campaign.status = 'open'"
            " AND (campaign.id = :campaign_id OR CAST(:campaign_id AS bigint) IS NULL)"
            " AND row.state = 'pending' AND row.offered_at IS NULL AND row.released_at > :waited_for"
            " FOR UPDATE OF row SKIP LOCKED)"
        ),
        {"now": now, "waited_for": since - SILENT_FOR, "campaign_id": campaign_id},
    )


async def released(session: AsyncSession, campaign_id: int) -> list[int]:
    """Return all hosts that were released."""
    statement = select(func.array_agg(col(LedgerRow.host_id))).where(
        col(LedgerRow.campaign_id) == campaign_id, col(LedgerRow.released_at).is_not(None)
    )
    return list((await session.execute(statement)).scalar_one() or ())


def _is_asked() -> ColumnElement[bool]:
    """Whether a host is in a team that its campaign asks. Hosts without a team are in team 0."""
    allowed = col(Campaign.allowed_team_ids)
    return or_(allowed.is_(None), func.coalesce(col(Host.team_id), 0) == any_(allowed))

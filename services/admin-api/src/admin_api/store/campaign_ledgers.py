"""Reads of a campaign's ledger, host by host."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import LedgerRow
from sqlalchemy import Row, Select, and_, case, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store.host_scope import VisibleTeams, display_name, visible
from admin_api.store.listing import ListOptions, Sortable, listed

State = Literal["answered", "failed", "denylisted", "expired", "cancelled", "unreachable", "pending"]
STATES: tuple[State, ...] = ("answered", "failed", "denylisted", "expired", "cancelled", "unreachable", "pending")
OFFERED = "offered"
"""What a filter may ask for beside the states: pending hosts that have taken the query and are silent."""


@dataclass(frozen=True)
class Entry:
    """One targeted host. All but its id and state is None when it is out of the viewer's sight.

    So it is for a deleted host, except that who sees every host sees what it answered. `error` and the names are the
    host's own text; `row_count` counts rows, `stats` are osquery's (agent protocol 1.7). The times tell when the host
    was up, so they are the host's word too.
    """

    host_id: int
    hostname: str | None
    display_name: str | None
    team_id: int | None
    state: State
    is_offered: bool
    offered_at: datetime | None
    settled_at: datetime | None
    row_count: int | None
    is_truncated: bool | None
    error: str | None
    stats: dict[str, Any] | None


async def page(
    session: AsyncSession, campaign_id: int, options: ListOptions, states: Collection[str], teams: VisibleTeams
) -> tuple[list[Entry], bool]:
    """Return a page of a ledger, by host id unless `options` say otherwise, and whether there is more.

    `states` are of STATES or OFFERED, none of them means all; `teams` are those whose hosts the viewer may see.

    Raises:
        InvalidArgument: the order or the cursor makes no sense.

    """
    statement = listed(
        _entries(campaign_id, states, teams),
        options,
        order_keys=_order_keys(teams),
        row_id=col(LedgerRow.host_id),
        search=(col(Host.hostname), col(Host.computer_name), _seen(LedgerRow.error, teams)),
    )
    rows = (await session.execute(statement)).all()
    return [_entry(row, teams) for row in rows[: options.limit]], len(rows) > options.limit


async def after(
    session: AsyncSession, campaign_id: int, host_id: int, count: int, states: Collection[str], teams: VisibleTeams
) -> list[Entry]:
    """Return the next hosts of a ledger by id, `count` at most; see `page`."""
    statement = (
        _entries(campaign_id, states, teams)
        .where(col(LedgerRow.host_id) > host_id)
        .order_by(col(LedgerRow.host_id))
        .limit(count)
    )
    return [_entry(row, teams) for row in await session.execute(statement)]


def _entries(campaign_id: int, states: Collection[str], teams: VisibleTeams) -> Select[*tuple[Any, ...]]:
    statement: Select[*tuple[Any, ...]] = (
        select(LedgerRow, col(Host.id), col(Host.hostname), display_name(), col(Host.team_id))
        .outerjoin(Host, and_(col(Host.id) == col(LedgerRow.host_id), visible(teams)))
        .where(col(LedgerRow.campaign_id) == campaign_id)
    )
    if not states:
        return statement
    is_offered = and_(col(LedgerRow.state) == "pending", col(LedgerRow.offered_at).is_not(None))
    plain = [state for state in states if state != OFFERED]
    return statement.where(or_(col(LedgerRow.state).in_(plain), is_offered if OFFERED in states else false()))


def _order_keys(teams: VisibleTeams) -> Mapping[str, Sortable]:
    """What a ledger may be ordered by: no order tells what is not shown."""
    return {
        "host_id": col(LedgerRow.host_id),
        "state": col(LedgerRow.state),
        "row_count": _seen(LedgerRow.row_count, teams),
        "settled_at": _seen(LedgerRow.settled_at, teams),
        "offered_at": _seen(LedgerRow.offered_at, teams),
        "hostname": col(Host.hostname),
    }


def _seen(column: Any, teams: VisibleTeams) -> Sortable:
    """Return what a host said, null for hosts out of sight."""
    return col(column) if teams is None else case((col(Host.id).is_not(None), col(column)))


def _entry(found: Row[*tuple[Any, ...]], teams: VisibleTeams) -> Entry:
    row, host_id, hostname, name, team_id = found
    is_in_sight = teams is None or host_id is not None
    is_pending = row.state == "pending"
    return Entry(
        host_id=row.host_id,
        hostname=hostname,
        display_name=None if host_id is None else name,
        team_id=team_id,
        state=row.state,
        is_offered=is_pending and row.offered_at is not None,
        offered_at=row.offered_at if is_in_sight else None,
        settled_at=row.settled_at if is_in_sight else None,
        row_count=row.row_count if is_in_sight else None,
        is_truncated=row.truncated if is_in_sight else None,
        error=row.error if is_in_sight else None,
        stats=row.stats if is_in_sight else None,
    )


async def counts(session: AsyncSession, campaign_id: int) -> dict[str, int]:
    """Return how many hosts are targeted, in each of STATES, and OFFERED: all of one moment, so they add up."""
    statement = (
        select(col(LedgerRow.state), func.count(), func.count(col(LedgerRow.offered_at)))
        .where(col(LedgerRow.campaign_id) == campaign_id)
        .group_by(col(LedgerRow.state))
    )
    found = {state: (number, offered) for state, number, offered in await session.execute(statement)}
    by_state: dict[str, int] = {state: found.get(state, (0, 0))[0] for state in STATES}
    return {"targeted": sum(by_state.values()), **by_state, OFFERED: found.get("pending", (0, 0))[1]}

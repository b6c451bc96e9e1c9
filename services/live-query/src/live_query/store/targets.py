"""Which hosts a selection means (admin API part 14), and how many of them are online (9.4)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flotilla_common.contracts.campaigns import TargetCounts
from flotilla_common.db.models.admin_api import Label
from flotilla_common.db.models.inventory import Host, HostSeen, LabelMembership, online_clause
from sqlalchemy import BigInteger, ColumnElement, and_, any_, cast, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

MISSING_AFTER = timedelta(days=30)
NEW_FOR = timedelta(hours=24)


@dataclass(frozen=True)
class Selection:
    """Label ids split by type; `everything` is the built-in label All Hosts. Team 0 means hosts without a team.

    A host is selected when it is listed, or is in one of each kind that is given.
    """

    host_ids: tuple[int, ...] = ()
    builtin_label_ids: tuple[int, ...] = ()
    regular_label_ids: tuple[int, ...] = ()
    team_ids: tuple[int, ...] = ()
    everything: bool = False


async def builtin_among(session: AsyncSession, label_ids: Collection[int]) -> set[int]:
    """Return which of these labels are built-in ones."""
    found = await session.execute(
        select(col(Label.id)).where(_one_of(col(Label.id), label_ids), col(Label.label_type) == "builtin")
    )
    return {label_id for label_id in found.scalars() if label_id is not None}


async def find(
    session: AsyncSession, selection: Selection, allowed_team_ids: tuple[int, ...] | None, now: datetime
) -> tuple[list[int], TargetCounts]:
    """Return the ids of the targeted hosts, ascending, and their counts by state."""
    seen = func.coalesce(col(HostSeen.seen_at), col(Host.created_at))
    statement = (
        select(
            func.array_agg(aggregate_order_by(col(Host.id), col(Host.id))),
            func.count(),
            func.count().filter(online_clause(now)),
            func.count().filter(seen <= now - MISSING_AFTER),
            func.count().filter(col(Host.created_at) >= now - NEW_FOR),
        )
        .select_from(Host)
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(_selected(selection), _allowed(allowed_team_ids))
    )
    ids, total, online_count, missing, new = (await session.execute(statement)).one()
    counts = TargetCounts(
        total=total, online=online_count, offline=total - online_count, missing_in_action=missing, new=new
    )
    return [host_id for host_id in ids or () if host_id is not None], counts


def _allowed(team_ids: tuple[int, ...] | None) -> ColumnElement[bool]:
    return true() if team_ids is None else _in_team(team_ids)


def _selected(selection: Selection) -> ColumnElement[bool]:
    if selection.everything:
        return true()
    listed = _one_of(col(Host.id), selection.host_ids)
    groups = [_member(ids) for ids in (selection.builtin_label_ids, selection.regular_label_ids) if ids]
    if selection.team_ids:
        groups.append(_in_team(selection.team_ids))
    if not groups:
        return listed
    return or_(listed, and_(*groups))


def _member(label_ids: Collection[int]) -> ColumnElement[bool]:
    """Being in one of these labels. A single one by itself: then members come from its index in the order of hosts."""
    label = col(LabelMembership.label_id)
    is_this = label == next(iter(label_ids)) if len(label_ids) == 1 else _one_of(label, label_ids)
    return exists(select(1).where(col(LabelMembership.host_id) == col(Host.id), is_this))


def _in_team(team_ids: Collection[int]) -> ColumnElement[bool]:
    """Being in one of these teams: by the bare column, for of expressions Postgres cannot tell how many hosts match."""
    listed = _one_of(col(Host.team_id), team_ids)
    return or_(listed, col(Host.team_id).is_(None)) if 0 in team_ids else listed


def _one_of(column: ColumnElement[int] | Any, ids: Collection[int]) -> ColumnElement[bool]:
    """One array parameter, however many ids there are."""
    return column == any_(cast(sorted(ids), ARRAY(BigInteger)))

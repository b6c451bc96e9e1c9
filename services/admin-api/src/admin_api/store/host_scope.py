"""Conditions on hosts that many queries share: who may see them, what state they are in, what they are called."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from flotilla_common.db.models.inventory import Host, HostSeen, online_clause
from sqlalchemy import BigInteger, ColumnElement, and_, any_, case, cast, func, or_, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import col

VisibleTeams = frozenset[int] | None
"""Teams whose hosts somebody may see; None: every host, also those without a team."""

ID = col(Host.id)
MISSING_AFTER = timedelta(days=30)
NEW_FOR = timedelta(hours=24)


def seen_time() -> ColumnElement[datetime]:
    """When a host was last seen, or created when it was not seen yet. Needs the outer join with HostSeen."""
    return func.coalesce(col(HostSeen.seen_at), col(Host.created_at))


def online(now: datetime) -> ColumnElement[bool]:
    """Whether a host polls as often as it said it would (admin API 9.4)."""
    return online_clause(now)


def missing(now: datetime) -> ColumnElement[bool]:
    """Unseen for 30 days; such hosts count as offline too."""
    return seen_time() <= now - MISSING_AFTER


def new(now: datetime) -> ColumnElement[bool]:
    """Enrolled within the last 24 h."""
    return col(Host.created_at) >= now - NEW_FOR


def visible(teams: VisibleTeams) -> ColumnElement[bool]:
    """Hosts of these teams; a host without a team is visible only to those who see every host."""
    return true() if teams is None else one_of(col(Host.team_id), teams)


def one_of(column: ColumnElement[int] | Any, ids: Collection[int]) -> ColumnElement[bool]:
    """Whether a column holds one of these ids: one array parameter, however many there are."""
    return column == any_(cast(sorted(ids), ARRAY(BigInteger)))


def in_team(team_id: int) -> ColumnElement[bool]:
    """Hosts of one team; 0 means those without a team."""
    return col(Host.team_id).is_(None) if team_id == 0 else col(Host.team_id) == team_id


def display_name() -> ColumnElement[str]:
    """Computer name, else host name, else `MODEL (SERIAL)`; empty when nothing is known."""
    model, serial = col(Host.hardware_model), col(Host.hardware_serial)
    by_hardware = case((and_(model != "", serial != ""), model + " (" + serial + ")"), else_="")
    return func.coalesce(func.nullif(col(Host.computer_name), ""), func.nullif(col(Host.hostname), ""), by_hardware)


def matches(text: str) -> ColumnElement[bool]:
    """Case-insensitive substring match over the columns people search hosts by; `%` and `_` are literal."""
    columns = (Host.hostname, Host.computer_name, Host.uuid, Host.hardware_serial, Host.primary_ip)
    pattern = contains(text)
    return or_(
        *(col(column).ilike(pattern, escape="\\") for column in columns), display_name().ilike(pattern, escape="\\")
    )


def contains(text: str) -> str:
    """Return the LIKE pattern (escape character: backslash) of texts that contain this one."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

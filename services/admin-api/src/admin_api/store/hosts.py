"""Reads of inventory's hosts: one query shape for lists, single hosts, counts and targets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.db.models.admin_api import Label, Team
from flotilla_common.db.models.inventory import Host, HostSeen, LabelMembership
from sqlalchemy import ColumnElement, LargeBinary, Row, Text, and_, any_, case, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store import host_scope
from admin_api.store.host_scope import VisibleTeams, one_of
from admin_api.store.listing import ListOptions, Sortable, listed

_PLAIN_COLUMNS = [
    "id",
    "created_at",
    "updated_at",
    "detail_updated_at",
    "label_updated_at",
    "policy_updated_at",
    "last_enrolled_at",
    "refetch_requested",
    "hostname",
    "uuid",
    "platform",
    "osquery_version",
    "os_version",
    "build",
    "platform_like",
    "code_name",
    "cpu_type",
    "cpu_subtype",
    "cpu_brand",
    "cpu_physical_cores",
    "cpu_logical_cores",
    "hardware_vendor",
    "hardware_model",
    "hardware_version",
    "hardware_serial",
    "computer_name",
    "public_ip",
    "primary_ip",
    "primary_mac",
    "team_id",
]
_UNKNOWN_FACTS = [
    "issues",
    "uptime",
    "last_restarted_at",
    "software_updated_at",
    "orbit_version",
    "fleet_desktop_version",
    "scripts_enabled",
    "gigs_disk_space_available",
    "percent_disk_space_available",
    "gigs_total_disk_space",
]
IDENTIFIERS = (Host.hostname, Host.host_identifier, Host.uuid, Host.hardware_serial)


@dataclass(frozen=True)
class HostRow:
    """A host with what lists show beside it."""

    host: Host
    host_id: int
    seen_time: datetime
    team_name: str | None
    online: bool
    display_name: str


def order_keys(now: datetime) -> dict[str, Sortable]:
    """Return what a list of hosts can be ordered by: key -> column. Facts that no host has yet order nothing."""
    same = {name: col(getattr(Host, name)) for name in _PLAIN_COLUMNS}
    renamed: dict[str, Sortable] = {
        "memory": col(Host.memory_bytes),
        "distributed_interval": col(Host.distributed_interval_seconds),
        "config_tls_refresh": col(Host.config_refresh_seconds),
        "logger_tls_period": col(Host.logger_tls_period_seconds),
        "seen_time": host_scope.seen_time(),
        "team_name": col(Team.name),
        "display_name": host_scope.display_name(),
        "display_text": col(Host.hostname),
        "status": case((host_scope.online(now), "online"), else_="offline"),
    }
    return {**same, **renamed, **{name: literal(0) for name in _UNKNOWN_FACTS}}


@dataclass(frozen=True)
class HostFilter:
    """Which hosts a list is about. `impossible`: it selects by data that no host has yet, so nothing matches.

    `team_id` 0 means hosts without a team; `status` is new, online, offline, mia or missing.
    """

    status: str | None = None
    team_id: int | None = None
    label_id: int | None = None
    query: str = ""
    os_name: str | None = None
    os_version: str | None = None
    impossible: bool = False


def _select(now: datetime) -> Any:
    return (
        select(
            Host,
            host_scope.seen_time().label("seen_time"),
            col(Team.name).label("team_name"),
            host_scope.online(now).label("online"),
            host_scope.display_name().label("display_name"),
        )
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .outerjoin(Team, col(Team.id) == col(Host.team_id))
    )


def _row(row: Row[Any]) -> HostRow:
    host: Host = row[0]
    return HostRow(host, host.id or 0, row.seen_time, row.team_name, row.online, row.display_name)


def conditions(wanted: HostFilter, teams: VisibleTeams, now: datetime) -> list[ColumnElement[bool]]:
    """Return what a host must satisfy to be in a list that this viewer asked for."""
    found = [host_scope.visible(teams)]
    if wanted.impossible:
        found.append(col(Host.id).is_(None))
    if wanted.status is not None:
        found.append(_in_status(wanted.status, now))
    if wanted.team_id is not None:
        found.append(host_scope.in_team(wanted.team_id))
    if wanted.label_id is not None:
        found.append(has_any_label([wanted.label_id]))
    if wanted.query:
        found.append(host_scope.matches(wanted.query))
    if wanted.os_name is not None and wanted.os_version is not None:
        found.append(_runs(wanted.os_name, wanted.os_version))
    return found


def has_any_label(label_ids: Collection[int]) -> ColumnElement[bool]:
    """Whether a host is in at least one of these labels."""
    members = select(col(LabelMembership.host_id)).where(one_of(col(LabelMembership.label_id), label_ids))
    return col(Host.id).in_(members)


def _in_status(status: str, now: datetime) -> ColumnElement[bool]:
    if status == "online":
        return host_scope.online(now)
    if status == "offline":
        return ~host_scope.online(now)
    return host_scope.new(now) if status == "new" else host_scope.missing(now)


def _runs(name: str, version: str) -> ColumnElement[bool]:
    # The whole text as hosts report it, "Ubuntu 22.04.4 LTS", or only the version where the name is not part of it.
    return and_(
        col(Host.os_name) == name, or_(col(Host.os_version) == f"{name} {version}", col(Host.os_version) == version)
    )


async def page(
    session: AsyncSession, where: Sequence[ColumnElement[bool]], options: ListOptions, now: datetime
) -> list[HostRow]:
    """Return a page of the hosts that satisfy all conditions; the search text is among them already."""
    statement = listed(_select(now).where(*where), options, order_keys=order_keys(now), row_id=col(Host.id))
    return [_row(row) for row in await session.execute(statement)][: options.limit]


async def newest(
    session: AsyncSession, where: Sequence[ColumnElement[bool]], limit: int, now: datetime
) -> list[HostRow]:
    """Return the newest hosts that satisfy all conditions, newest id first."""
    statement = _select(now).where(*where).order_by(col(Host.id).desc()).limit(limit)
    return [_row(row) for row in await session.execute(statement)]


async def count(session: AsyncSession, where: Sequence[ColumnElement[bool]]) -> int:
    """Return how many hosts satisfy all conditions."""
    statement = (
        select(func.count()).select_from(Host).outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id)).where(*where)
    )
    return int(await session.scalar(statement) or 0)


async def are_any(session: AsyncSession, where: ColumnElement[bool]) -> bool:
    """Whether a condition holds for any host."""
    return await session.scalar(select(col(Host.id)).where(where).limit(1)) is not None


async def ids(session: AsyncSession, where: Sequence[ColumnElement[bool]]) -> list[int]:
    """Return the ids of the hosts that satisfy all conditions, ascending."""
    statement = (
        select(col(Host.id))
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(*where)
        .order_by(col(Host.id))
    )
    return [int(found) for found in await session.scalars(statement) if found is not None]


async def by_id(session: AsyncSession, host_id: int, now: datetime) -> HostRow | None:
    """Return one host, whoever asks."""
    row = (await session.execute(_select(now).where(col(Host.id) == host_id))).first()
    return None if row is None else _row(row)


async def by_ids(session: AsyncSession, host_ids: Collection[int], now: datetime) -> list[HostRow]:
    """Return those of these hosts that exist, by ascending id."""
    statement = _select(now).where(one_of(col(Host.id), host_ids)).order_by(col(Host.id))
    return [_row(row) for row in await session.execute(statement)]


def _named_exactly(identifier: str) -> ColumnElement[bool]:
    return or_(
        *(func.lower(col(column)) == func.lower(identifier) for column in IDENTIFIERS),
        col(Host.node_key_hash) == hash_node_key(identifier),
    )


async def by_identifier(session: AsyncSession, identifier: str, now: datetime) -> HostRow | None:
    """Return the oldest host with this host name, osquery identifier, node key, uuid or hardware serial."""
    if not identifier:
        return None
    statement = _select(now).where(_named_exactly(identifier)).order_by(col(Host.id)).limit(1)
    row = (await session.execute(statement)).first()
    return None if row is None else _row(row)


async def ids_by_identifiers(session: AsyncSession, identifiers: Collection[str], teams: VisibleTeams) -> list[int]:
    """Return the ids of all visible hosts with any of these identifiers, ascending; unknown ones are left out."""
    wanted = sorted({name for name in identifiers if name})
    if not wanted:
        return []
    names = select(func.lower(func.unnest(cast(wanted, ARRAY(Text)))))
    hashes = cast([hash_node_key(name) for name in wanted], ARRAY(LargeBinary))
    named = [func.lower(col(column)).in_(names) for column in IDENTIFIERS]
    statement = select(col(Host.id)).where(
        host_scope.visible(teams), or_(*named, col(Host.node_key_hash) == any_(hashes))
    )
    return [int(found) for found in await session.scalars(statement.order_by(col(Host.id))) if found is not None]


async def labels_by_host(session: AsyncSession, host_ids: Collection[int]) -> dict[int, list[Label]]:
    """Return host id -> its labels, by ascending label id, for all these hosts."""
    found: dict[int, list[Label]] = {host_id: [] for host_id in host_ids}
    statement = (
        select(col(LabelMembership.host_id), Label)
        .join(Label, col(Label.id) == col(LabelMembership.label_id))
        .where(one_of(col(LabelMembership.host_id), host_ids))
        .order_by(col(Label.id))
    )
    for host_id, label in await session.execute(statement):
        found[host_id].append(label)
    return found

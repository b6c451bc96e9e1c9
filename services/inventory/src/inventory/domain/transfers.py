"""Transfers: which team a host is in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flotilla_common.contracts.hosts import HostChangedV1
from flotilla_common.db import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.errors import UnknownTeam
from inventory.store import definitions, hosts, records, scope


async def transfer_hosts(session: AsyncSession, host_ids: Sequence[int], team_id: int | None, *, now: datetime) -> int:
    """Move hosts to a team (None: to no team); return how many were elsewhere before.

    Raises:
        UnknownTeam: there is no such team.

    """
    if team_id is not None and not await definitions.team_exists(session, team_id):
        raise UnknownTeam(f"team {team_id}")
    await scope.hold(session)
    locked = await hosts.lock_outside_team(session, host_ids, team_id)
    return await _move(session, locked, team_id, now)


async def leave_lost_teams(session: AsyncSession, limit: int, *, now: datetime) -> int:
    """Move up to `limit` hosts whose team does not exist (any more) to no team; return how many.

    An enroll that read its secret just before the team was deleted can leave such a host behind the event.
    """
    await scope.hold(session)
    locked = await hosts.lock_in_lost_teams(session, limit)
    return await _move(session, locked, None, now)


async def _move(session: AsyncSession, host_ids: Sequence[int], team_id: int | None, now: datetime) -> int:
    if not host_ids:
        return 0
    await hosts.change(session, host_ids, {"team_id": team_id, "updated_at": now})
    moved = await records.of_ids(session, host_ids)
    await outbox.add(session, *(HostChangedV1(host=record) for record in moved))
    return len(moved)

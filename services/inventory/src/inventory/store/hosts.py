"""Host rows. Every change takes the row's lock first and its revision after it.

So of two changes of one host, the one that commits later has the higher revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flotilla_common.db.models.admin_api import Team
from flotilla_common.db.models.inventory import Host, host_revision
from sqlalchemy import Select, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store.arrays import is_any_of

Values = Mapping[str, Any]


async def find(session: AsyncSession, identifier: str) -> Host | None:
    """Return the host with this identifier, in any case. A later look in the session reads the row anew."""
    found = (await session.execute(_identified(identifier))).scalar_one_or_none()
    if found is not None:
        session.expunge(found)
    return found


async def find_for_update(session: AsyncSession, identifier: str) -> Host | None:
    """Return the host with this identifier, in any case, its row locked."""
    return (await session.execute(_identified(identifier).with_for_update())).scalar_one_or_none()


def _identified(identifier: str) -> Select[Host]:
    return select(Host).where(func.lower(col(Host.host_identifier)) == func.lower(identifier))


async def change(session: AsyncSession, host_ids: Sequence[int], values: Values) -> None:
    """Change locked rows and give each a new revision."""
    statement = (
        sql_update(Host).where(is_any_of(col(Host.id), host_ids)).values(revision=host_revision.next_value(), **values)
    )
    await session.execute(statement, execution_options={"synchronize_session": False})


async def mark_shared(session: AsyncSession, host_id: int) -> None:
    """Mark a locked row: other machines enroll under its identifier. Records do not carry it: no revision is taken."""
    statement = sql_update(Host).where(col(Host.id) == host_id).values(identity_shared=True)
    await session.execute(statement, execution_options={"synchronize_session": False})


async def request_refetch(session: AsyncSession, host_id: int) -> int:
    """Mark a host for a refetch; return 1 when it exists. Records do not carry the mark, so no revision is taken."""
    statement = sql_update(Host).where(col(Host.id) == host_id).values(refetch_requested=True).returning(col(Host.id))
    found = await session.execute(statement, execution_options={"synchronize_session": False})
    return len(found.scalars().all())


async def delete(session: AsyncSession, host_ids: Sequence[int]) -> None:
    """Delete locked rows."""
    statement = sql_delete(Host).where(is_any_of(col(Host.id), host_ids))
    await session.execute(statement, execution_options={"synchronize_session": False})


async def lock(session: AsyncSession, host_ids: Sequence[int]) -> list[int]:
    """Lock those of the hosts that exist, in id order (two of these never deadlock); return their ids."""
    return await _lock(session, select(col(Host.id)).where(is_any_of(col(Host.id), host_ids)))


async def lock_with_orbit_key(session: AsyncSession, host_id: int, orbit_key_hash: bytes) -> bool:
    """Lock a host if it has this orbit key; whether it has."""
    is_that = (col(Host.id) == host_id) & (col(Host.orbit_key_hash) == orbit_key_hash)
    return bool(await _lock(session, select(col(Host.id)).where(is_that)))


async def lock_outside_team(session: AsyncSession, host_ids: Sequence[int], team_id: int | None) -> list[int]:
    """Lock those of the hosts that are not in the team (None: no team); return their ids."""
    outside = col(Host.team_id).is_distinct_from(team_id)
    return await _lock(session, select(col(Host.id)).where(is_any_of(col(Host.id), host_ids), outside))


async def lock_in_lost_teams(session: AsyncSession, limit: int) -> list[int]:
    """Lock up to `limit` hosts whose team does not exist; return their ids."""
    is_lost = col(Host.team_id).is_not(None) & ~select(col(Team.id)).where(col(Team.id) == col(Host.team_id)).exists()
    return await _lock(session, select(col(Host.id)).where(is_lost).limit(limit))


async def _lock(session: AsyncSession, statement: Select[Any]) -> list[int]:
    locked = await session.execute(statement.order_by(col(Host.id)).with_for_update(of=Host))
    return [int(host_id) for host_id in locked.scalars()]

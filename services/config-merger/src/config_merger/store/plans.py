"""The newest plan of each class.

Compiling takes the class' row lock, then reads the layers: who has the lock later has read layers at least as new, so
an older compile never overwrites a newer one. A consumer that compiles what an edit touched waits for new classes
that are being made (`hold_alone`), so that none made from the layers before the edit is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flotilla_common.db.models.config_merger import Plan
from sqlalchemy import ColumnElement, Text, any_, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

CLASSES_LOCK = 0xC1A55  # an advisory lock of this database; no other part uses the number

_key = col(Plan.class_key)
_light = (
    _key,
    col(Plan.team_id),
    col(Plan.platform),
    col(Plan.scope_labels),
    col(Plan.revision),
    col(Plan.config_sha256),
    col(Plan.orbit_sha256),
    col(Plan.compiled_at),
)


async def hold(session: AsyncSession) -> None:
    """Make a new class: keep those waiting who compile what an edit touched, until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock_shared(CLASSES_LOCK)))


async def hold_alone(session: AsyncSession) -> None:
    """Compile what an edit touched: wait for all new classes that are being made."""
    await session.execute(select(func.pg_advisory_xact_lock(CLASSES_LOCK)))


async def find(session: AsyncSession, class_key: str) -> Any | None:
    """Return a class' row, without its bytes."""
    return (await session.execute(select(*_light).where(_key == class_key))).one_or_none()


async def count(session: AsyncSession) -> int:
    """Return how many classes there are."""
    return int((await session.execute(select(func.count()).select_from(Plan))).scalar_one())


async def make_and_lock(
    session: AsyncSession, class_key: str, team_id: int | None, platform: str, scope_labels: Sequence[int]
) -> Any:
    """Make the class' row if it does not exist (revision 0: nothing compiled yet), lock it and return it."""
    row = {"class_key": class_key, "team_id": team_id, "platform": platform, "scope_labels": list(scope_labels)}
    await session.execute(insert(Plan).values(**row, config=b"").on_conflict_do_nothing())
    return (await session.execute(select(*_light).where(_key == class_key).with_for_update())).one()


async def lock_all(session: AsyncSession) -> list[Any]:
    """Lock every class, in key order, and return the rows without their bytes."""
    return await _lock(session, None)


async def lock_team(session: AsyncSession, team_id: int) -> list[Any]:
    """Lock the classes of a team, in key order."""
    return await _lock(session, col(Plan.team_id) == team_id)


async def _lock(session: AsyncSession, condition: ColumnElement[bool] | None) -> list[Any]:
    statement = select(*_light).order_by(_key).with_for_update()
    if condition is not None:
        statement = statement.where(condition)
    return list((await session.execute(statement)).all())


async def save(session: AsyncSession, class_key: str, **values: Any) -> None:
    """Store a new plan of a locked class."""
    await session.execute(update(Plan).where(_key == class_key).values(**values))


async def explain(session: AsyncSession, class_key: str, provenance: dict[str, str]) -> None:
    """Store where the same bytes come from now."""
    changed = col(Plan.provenance).is_distinct_from(provenance)
    await session.execute(update(Plan).where(_key == class_key, changed).values(provenance=provenance))


async def unannounced(session: AsyncSession, limit: int) -> list[Plan]:
    """Return plans, with bytes, whose head has not been put into the bucket since they were compiled."""
    statement = select(Plan).where(col(Plan.announced_revision) < col(Plan.revision)).order_by(_key).limit(limit)
    return list((await session.execute(statement)).scalars())


async def get(session: AsyncSession, class_key: str) -> Plan | None:
    """Return a class' plan, with bytes."""
    return await session.get(Plan, class_key)


async def mark_announced(session: AsyncSession, class_key: str, revision: int) -> None:
    """Remember that the head of this revision is in the bucket."""
    newest = func.greatest(col(Plan.announced_revision), revision)
    await session.execute(update(Plan).where(_key == class_key).values(announced_revision=newest))


async def every(session: AsyncSession) -> list[Any]:
    """Return all compiled classes, without their bytes."""
    return list((await session.execute(select(*_light).where(col(Plan.revision) > 0))).all())


async def with_config(session: AsyncSession, sha256: str) -> Plan | None:
    """Return some plan that has these bytes."""
    return (await session.execute(select(Plan).where(col(Plan.config_sha256) == sha256).limit(1))).scalar_one_or_none()


async def with_orbit(session: AsyncSession, sha256: str) -> Plan | None:
    """Return some plan whose part for orbit is these bytes."""
    return (await session.execute(select(Plan).where(col(Plan.orbit_sha256) == sha256).limit(1))).scalar_one_or_none()


async def remove_team(session: AsyncSession, team_id: int) -> list[str]:
    """Remove the classes of a team; return their keys."""
    return list((await session.execute(delete(Plan).where(col(Plan.team_id) == team_id).returning(_key))).scalars())


async def remove_unused(session: AsyncSession, used: Sequence[str], now: datetime, since: datetime) -> list[str]:
    """Note which classes no host is in now; remove those noted at `since` or before; return their keys."""
    is_used = _key == any_(cast(list(used), ARRAY(Text)))
    is_noted = col(Plan.unused_since).is_not(None)
    await session.execute(update(Plan).where(is_used, is_noted).values(unused_since=None))
    await session.execute(update(Plan).where(~is_used, ~is_noted).values(unused_since=now))
    removed = await session.execute(delete(Plan).where(col(Plan.unused_since) <= since).returning(_key))
    return list(removed.scalars())

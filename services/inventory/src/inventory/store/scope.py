"""The scope: which labels are part of a host's class, and since which revision.

Changes of hosts hold the scope together (`hold`), a change of the scope holds it alone (`hold_alone`). So a change of
a host that took a revision below the scope's has committed before the scope changed, and a record may carry the
scope's revision without hiding a change that is still to come.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flotilla_common.db.models.inventory import ScopeLabel, ScopeState, host_revision
from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

SCOPE_LOCK = 0x5C09E  # an advisory lock of this database; no other part uses the number


async def hold(session: AsyncSession) -> None:
    """Keep the scope as it is until the transaction ends. Before the first row lock of the transaction."""
    await session.execute(select(held()))


def held() -> Any:
    """Return the column by which a statement holds the scope as `hold` does, if it finds a row."""
    return func.pg_advisory_xact_lock_shared(SCOPE_LOCK)


async def hold_alone(session: AsyncSession) -> None:
    """Wait for all changes of hosts under way, and keep others waiting until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(SCOPE_LOCK)))


async def labels(session: AsyncSession) -> frozenset[int]:
    """Return the labels of the scope."""
    return frozenset((await session.execute(select(col(ScopeLabel.label_id)))).scalars())


async def holds_label(session: AsyncSession, label_id: int) -> bool:
    """Whether the label is part of the scope."""
    return bool(await session.scalar(select(exists().where(col(ScopeLabel.label_id) == label_id))))


async def replace(session: AsyncSession, wanted: Collection[int]) -> int:
    """Set the labels of the scope; return the revision since which they are in force."""
    await session.execute(delete(ScopeLabel))
    if wanted:
        await session.execute(insert(ScopeLabel), [{"label_id": label_id} for label_id in sorted(wanted)])
    state = insert(ScopeState).values(id=1, revision=host_revision.next_value())
    statement = state.on_conflict_do_update(
        index_elements=["id"], set_={"revision": state.excluded.revision}
    ).returning(col(ScopeState.revision))
    return int((await session.execute(statement)).scalar_one())

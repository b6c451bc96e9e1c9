"""Scope: the labels that scope a scheduled query or an extension, and so are part of their hosts' class."""

from __future__ import annotations

from flotilla_common.contracts.hosts import ScopeChangedV1
from flotilla_common.db import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.store import definitions, scope


async def recompute(session: AsyncSession) -> bool:
    """Make the scope what the definitions say now; True when that changed it.

    Every host's record is older than the new revision then, so every holder asks again: no event per host is needed.
    """
    await scope.hold_alone(session)
    wanted = await definitions.scoping_labels(session)
    if wanted == await scope.labels(session):
        return False
    revision = await scope.replace(session, wanted)
    await outbox.add(session, ScopeChangedV1(revision=revision, scope_labels=tuple(sorted(wanted))))
    return True

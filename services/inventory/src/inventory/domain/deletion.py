"""Deletion: a host and all that depends on it."""

from __future__ import annotations

from collections.abc import Sequence

from flotilla_common.contracts.hosts import HostDeletedV1
from flotilla_common.db import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.store import device_tokens, hosts, identity_claims, label_membership, records, scope, seen


async def delete_hosts(session: AsyncSession, host_ids: Sequence[int]) -> int:
    """Delete hosts for good; return how many there were. A host that is still alive enrolls again as a new one."""
    await scope.hold(session)
    locked = await hosts.lock(session, host_ids)
    if not locked:
        return 0
    await hosts.change(session, locked, {})
    gone = await records.of_ids(session, locked)
    await label_membership.remove_hosts(session, locked)
    await identity_claims.remove_hosts(session, locked)
    await seen.remove(session, locked)
    await device_tokens.remove(session, locked)
    await hosts.delete(session, locked)
    await outbox.add(session, *(HostDeletedV1(host=record) for record in gone))
    return len(gone)

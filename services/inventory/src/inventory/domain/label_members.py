"""Members of manual labels, and what becomes of members when a label goes."""

from __future__ import annotations

from collections.abc import Sequence

from flotilla_common.contracts.hosts import HostChangedV1
from flotilla_common.db import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.errors import NotAManualLabel, UnknownLabel
from inventory.store import definitions, hosts, label_membership, records, scope


async def change_members(
    session: AsyncSession, label_id: int, replace: Sequence[int] | None, add: Sequence[int], remove: Sequence[int]
) -> int:
    """Set, add and remove members of a manual label; return for how many hosts that changed anything.

    Ids of hosts that do not exist are passed over.

    Raises:
        UnknownLabel: there is no such label.
        NotAManualLabel: its members are told by hosts, not by people.

    """
    label = await definitions.label(session, label_id)
    if label is None:
        raise UnknownLabel(f"label {label_id}")
    if label.label_membership_type != "manual" or label.label_type != "regular":
        raise NotAManualLabel(label.name)
    await scope.hold(session)
    present = await label_membership.members(session, label_id)
    wanted = ((set(replace) if replace is not None else present) | set(add)) - set(remove)
    changed = await hosts.lock(session, sorted(wanted ^ present))
    await label_membership.add(session, label_id, [host_id for host_id in changed if host_id in wanted])
    await label_membership.remove(session, label_id, [host_id for host_id in changed if host_id not in wanted])
    if await scope.holds_label(session, label_id):
        await _announce(session, changed)
    return len(changed)


async def _announce(session: AsyncSession, host_ids: Sequence[int]) -> None:
    """The label is part of its hosts' class: who keeps their records must hear of it."""
    if not host_ids:
        return
    await hosts.change(session, host_ids, {})
    changed = await records.of_ids(session, host_ids)
    await outbox.add(session, *(HostChangedV1(host=record) for record in changed))

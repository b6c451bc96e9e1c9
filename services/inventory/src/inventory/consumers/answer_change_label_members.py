"""ChangeLabelMembersV1: who is in a manual label."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import ChangeLabelMembersV1, HostsAffectedV1

from inventory.deps import Deps
from inventory.domain.label_members import change_members


async def answer(request: ChangeLabelMembersV1, deps: Deps) -> HostsAffectedV1:
    """A repeat finds the members as wanted and counts 0."""
    async with deps.sessions.begin() as session:
        count = await change_members(session, request.label_id, request.replace, request.add, request.remove)
    return HostsAffectedV1(count=count)


RESPONDER = Responder(ChangeLabelMembersV1, answer)

"""RefetchHostV1: ask for a host's details again."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import HostsAffectedV1, RefetchHostV1

from inventory.deps import Deps
from inventory.store import hosts


async def answer(request: RefetchHostV1, deps: Deps) -> HostsAffectedV1:
    """A repeat sets the same mark."""
    async with deps.sessions.begin() as session:
        count = await hosts.request_refetch(session, request.host_id)
    return HostsAffectedV1(count=count)


RESPONDER = Responder(RefetchHostV1, answer)

"""DeleteHostsV1: delete hosts for good."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import DeleteHostsV1, HostsAffectedV1

from inventory.deps import Deps
from inventory.domain.deletion import delete_hosts


async def answer(request: DeleteHostsV1, deps: Deps) -> HostsAffectedV1:
    """A repeat finds nobody and counts 0."""
    async with deps.sessions.begin() as session:
        count = await delete_hosts(session, request.host_ids)
    return HostsAffectedV1(count=count)


RESPONDER = Responder(DeleteHostsV1, answer)

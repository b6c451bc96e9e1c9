"""TransferHostsV1: move hosts to a team."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import HostsAffectedV1, TransferHostsV1

from inventory.deps import Deps
from inventory.domain.transfers import transfer_hosts


async def answer(request: TransferHostsV1, deps: Deps) -> HostsAffectedV1:
    """A repeat moves nobody and counts 0."""
    async with deps.sessions.begin() as session:
        count = await transfer_hosts(session, request.host_ids, request.team_id, now=deps.clock())
    return HostsAffectedV1(count=count)


RESPONDER = Responder(TransferHostsV1, answer)

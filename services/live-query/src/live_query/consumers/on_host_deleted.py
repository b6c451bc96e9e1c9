"""hosts.deleted.v1: nobody waits for a deleted host, for its answers or for the rest of its carves."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.hosts import HostDeletedV1

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.ending import leave
from live_query.store import carves


async def handle(event: HostDeletedV1, deps: Deps) -> None:
    """Idempotent: a host that is pending nowhere changes nothing."""
    async with deps.sessions.begin() as session:
        metrics.UNREACHABLE.inc(await leave(session, deps.rows, event.host.host_id, now=deps.clock()))
        await carves.expire_host(session, event.host.host_id, deps.clock())


SUBSCRIPTION = event_subscription(HostDeletedV1, "live-query-on_host_deleted", handle)

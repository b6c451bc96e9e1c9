"""hosts.changed.v1, hosts.deleted.v1: what reports have of hosts that are gone, or in another team, goes away."""

from __future__ import annotations

from flotilla_common.bus.consumer import Subscription
from flotilla_common.contracts.hosts import HostChangedV1, HostDeletedV1
from nats.aio.msg import Msg

from log_shipper.deps import Deps
from log_shipper.domain import report_keeping

BATCH = 500
HostEvent = HostChangedV1 | HostDeletedV1


async def handle(events: list[HostEvent], deps: Deps) -> None:
    """Idempotent: goes by where hosts are now, whatever the events said."""
    async with deps.sessions.begin() as session:
        await report_keeping.forget_void_hosts(session, {event.host.host_id for event in events})


def _subscription(event: type[HostEvent], durable: str) -> Subscription[HostEvent, Deps]:
    def decode(message: Msg) -> HostEvent:
        return event.model_validate_json(message.data)

    return Subscription("HOSTS", event.subject, durable, decode, handle, batch=BATCH)


SUBSCRIPTIONS = (
    _subscription(HostChangedV1, "log-shipper-on_host_changed"),
    _subscription(HostDeletedV1, "log-shipper-on_host_deleted"),
)

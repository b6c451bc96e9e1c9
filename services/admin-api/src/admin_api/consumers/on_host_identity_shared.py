"""hosts.identity_shared.v1: people are told that two living machines have one identity."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.hosts import HostIdentitySharedV1

from admin_api.deps import Deps
from admin_api.store import host_activities, hosts


async def handle(event: HostIdentitySharedV1, deps: Deps) -> None:
    """Idempotent: the activity carries the event's id, which is unique. A host deleted meanwhile has no names."""
    async with deps.sessions.begin() as session:
        row = await hosts.by_id(session, event.host_id, deps.clock())
        details = {
            "host_id": event.host_id,
            "host_serial": "" if row is None else row.host.hardware_serial,
            "host_display_name": "" if row is None else row.display_name,
            "host_identifier": event.host_identifier,
            "differs": event.differs,
            "decision": event.decision,
            "newcomer_serial": event.newcomer_serial,
            "newcomer_public_ip": event.newcomer_address,
        }
        await host_activities.add_once(session, event.event_id, "detected_shared_host_identity", details)


SUBSCRIPTION = event_subscription(HostIdentitySharedV1, "admin-api-on_host_identity_shared", handle)

"""hosts.enrolled.v1: people are told of hosts that enroll for the first time."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.hosts import HostEnrolledV1

from admin_api.deps import Deps
from admin_api.store import host_activities, hosts


async def handle(event: HostEnrolledV1, deps: Deps) -> None:
    """Idempotent: the activity carries the event's id, which is unique. A host deleted meanwhile has no names."""
    if not event.first_time:
        return
    async with deps.sessions.begin() as session:
        row = await hosts.by_id(session, event.host.host_id, deps.clock())
        details = {
            "host_id": event.host.host_id,
            "host_serial": "" if row is None else row.host.hardware_serial,
            "host_display_name": "" if row is None else row.display_name,
        }
        await host_activities.add_once(session, event.event_id, "fleet_enrolled", details)


SUBSCRIPTION = event_subscription(HostEnrolledV1, "admin-api-on_host_enrolled", handle)

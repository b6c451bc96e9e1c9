"""hosts.enroll_refused.v1: people are told that an enroll secret which exists was refused."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.hosts import EnrollRefusedV1

from admin_api.deps import Deps
from admin_api.store import host_activities, teams


async def handle(event: EnrollRefusedV1, deps: Deps) -> None:
    """Idempotent: the activity carries the event's id, which is unique. A team deleted meanwhile has no name."""
    async with deps.sessions.begin() as session:
        team = None if event.team_id is None else await teams.get(session, event.team_id)
        details = {
            "team_id": event.team_id,
            "team_name": None if team is None else team.name,
            "reason": event.reason,
            "host_identifier": event.host_identifier,
            "public_ip": event.remote_address,
        }
        await host_activities.add_once(session, event.event_id, "refused_enroll_secret", details)


SUBSCRIPTION = event_subscription(EnrollRefusedV1, "admin-api-on_enroll_refused", handle)

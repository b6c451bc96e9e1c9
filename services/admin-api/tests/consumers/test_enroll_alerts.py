"""What inventory noticed about enrolls: people are told, once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from admin_api.consumers import on_enroll_refused, on_host_identity_shared
from flotilla_common.bus.consumer import consume
from flotilla_common.contracts.hosts import EnrollRefusedV1, HostIdentitySharedV1
from flotilla_common.db.models.admin_api import Activity, Team
from flotilla_common.db.models.inventory import Host
from flotilla_common.testing.waiting import eventually


@pytest.fixture
async def publisher(deps, bus_for):
    """inventory's bus, while admin-api listens."""
    subscriptions = (on_enroll_refused.SUBSCRIPTION, on_host_identity_shared.SUBSCRIPTION)
    tasks = [asyncio.create_task(consume(deps.bus, subscription, deps)) for subscription in subscriptions]
    yield await bus_for("inventory")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def refused(team_id: int | None) -> EnrollRefusedV1:
    return EnrollRefusedV1(
        secret_id=5, team_id=team_id, reason="enroll_secret_expired", host_identifier="A-1", remote_address="192.0.2.7"
    )


def shared(host_id: int) -> HostIdentitySharedV1:
    return HostIdentitySharedV1(
        host_id=host_id,
        decision="separate",
        differs="hardware_serial",
        host_identifier="Image-1",
        newcomer_serial="SN-2",
        newcomer_address="192.0.2.8",
    )


async def test_a_refused_secret_is_told_with_the_name_of_its_team(publisher, database):
    team = Team(name="Servers", document={}, agent_options={})
    await database.add(team)

    await publisher.publish(refused(team.id))

    [activity] = await eventually(lambda: database.rows(Activity), timeout=30.0)
    assert (activity.type, activity.actor_full_name, activity.fleet_initiated) == (
        "refused_enroll_secret",
        "Fleet",
        True,
    )
    assert activity.details == {
        "team_id": team.id,
        "team_name": "Servers",
        "reason": "enroll_secret_expired",
        "host_identifier": "A-1",
        "public_ip": "192.0.2.7",
    }


async def test_a_shared_identity_is_told_with_the_names_of_the_host(publisher, database):
    host = Host(
        revision=1,
        host_identifier="Image-1",
        hostname="web-17",
        hardware_serial="SN-1",
        last_enrolled_at=datetime.now(UTC),
    )
    await database.add(host)

    await publisher.publish(shared(host.id))

    [activity] = await eventually(lambda: database.rows(Activity), timeout=30.0)
    assert activity.type == "detected_shared_host_identity"
    assert activity.details == {
        "host_id": host.id,
        "host_serial": "SN-1",
        "host_display_name": "web-17",
        "host_identifier": "Image-1",
        "differs": "hardware_serial",
        "decision": "separate",
        "newcomer_serial": "SN-2",
        "newcomer_public_ip": "192.0.2.8",
    }


@pytest.mark.parametrize(
    ("consumer", "event"), [(on_enroll_refused, refused(None)), (on_host_identity_shared, shared(77))]
)
async def test_the_same_event_twice_is_told_once_whatever_is_gone_meanwhile(deps, database, consumer, event):
    await consumer.handle(event, deps)
    await consumer.handle(event, deps)

    assert len(await database.rows(Activity)) == 1


async def test_poison_is_buried_and_the_next_event_is_told(publisher, database):
    for event in (refused(None), shared(77)):
        await publisher.js.publish(event.subject, b"garbage")
        await publisher.publish(event)

    async def both() -> bool:
        return {row.type for row in await database.rows(Activity)} == {
            "refused_enroll_secret",
            "detected_shared_host_identity",
        }

    await eventually(both, timeout=30.0)

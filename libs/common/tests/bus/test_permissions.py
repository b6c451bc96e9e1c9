"""Permissions are enforced by the real server."""

import pytest
from flotilla_common.testing import eventually


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("log_shipper", "inventory.enroll_host.v1"),
        ("config_merger", "hosts.changed.v1"),
        ("agent_gateway", "live_query.start_campaign.v1"),
        ("inventory", "$KV.CAMPAIGNS.1.command"),
        ("inventory", "$KV.PLANS.head.x"),
        ("analytics", "logs.result.v1.3"),
        ("log_shipper", "live_query.begin_carve.v1"),
        ("admin_api", "carves.part.v1"),
    ],
)
async def test_a_forbidden_publish_is_refused_by_the_server(bus_for, user, subject):
    bus = await bus_for(user)
    refused: list[Exception] = []

    async def note(error: Exception) -> None:
        refused.append(error)

    bus.client._error_cb = note
    await bus.client.publish(subject, b"x")
    await bus.settle()

    await eventually(lambda: any("permissions violation" in str(error).lower() for error in refused))


async def test_nobody_hears_the_replies_of_another(bus_for):
    bus = await bus_for("log_shipper")
    refused: list[Exception] = []

    async def note(error: Exception) -> None:
        refused.append(error)

    bus.client._error_cb = note
    await bus.client.subscribe("_INBOX.agent_gateway.>")
    await bus.settle()

    await eventually(lambda: any("permissions violation" in str(error).lower() for error in refused))

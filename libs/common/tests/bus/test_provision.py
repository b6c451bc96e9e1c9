"""Streams and buckets as the services want them."""

from flotilla_common.bus.provision import verify


async def test_streams_verify_after_provisioning(bus_for):
    await verify(await bus_for("agent_gateway"), "LOGS", "ANSWERS", "RESULTS")

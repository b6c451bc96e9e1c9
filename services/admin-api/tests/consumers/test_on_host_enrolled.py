"""A host that enrolls for the first time: people are told, once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import nats
import pytest
from admin_api.consumers import on_host_enrolled
from flotilla_common.bus.consumer import consume
from flotilla_common.bus.permissions import PROVISION_USER
from flotilla_common.contracts.hosts import HostEnrolledV1, HostRecord
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.db.models.admin_api import Activity
from flotilla_common.db.models.inventory import Host
from flotilla_common.testing.waiting import eventually


@pytest.fixture
async def publisher(deps, bus_for):
    """inventory's bus, while admin-api listens."""
    task = asyncio.create_task(consume(deps.bus, on_host_enrolled.SUBSCRIPTION, deps))
    yield await bus_for("inventory")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def enrolled(host_id: int, *, first_time: bool = True) -> HostEnrolledV1:
    record = HostRecord(host_id=host_id, revision=1, node_key_hash="0" * 32)
    return HostEnrolledV1(host=record, first_time=first_time)


@pytest.fixture
def told(database):
    async def names():
        return [
            (row.details["host_id"], row.details["host_display_name"])
            for row in await database.rows(Activity)
            if row.type == "fleet_enrolled"
        ]

    return names


@pytest.fixture
def buried(nats_server):
    """How many messages stream DEAD holds; only those who make streams may look at it."""

    async def count() -> int:
        where = nats_server.where
        client = await nats.connect(
            where.url,
            user=PROVISION_USER,
            password=where.passwords[PROVISION_USER],
            inbox_prefix=f"_INBOX.{PROVISION_USER}".encode(),
        )
        try:
            return int((await client.jetstream().stream_info("DEAD")).state.messages)
        finally:
            await client.close()

    return count


@pytest.fixture
async def host_id(database) -> int:
    host = Host(
        revision=1,
        host_identifier="A-1",
        hostname="web-17",
        hardware_serial="SN-1",
        node_key_hash=hash_node_key("key"),
        last_enrolled_at=datetime.now(UTC),
    )
    await database.add(host)
    return host.id


async def test_a_first_enroll_is_told_with_the_names_of_the_host(publisher, database, host_id):
    await publisher.publish(enrolled(host_id))

    [activity] = await eventually(lambda: database.rows(Activity), timeout=30.0)
    assert (activity.type, activity.actor_full_name, activity.fleet_initiated) == ("fleet_enrolled", "Fleet", True)
    assert activity.details == {"host_id": host_id, "host_serial": "SN-1", "host_display_name": "web-17"}


async def test_the_same_event_twice_is_told_once(deps, told, host_id):
    event = enrolled(host_id)

    await on_host_enrolled.handle(event, deps)
    await on_host_enrolled.handle(event, deps)

    assert await told() == [(host_id, "web-17")]


async def test_a_host_that_enrolls_again_is_no_news(publisher, told, host_id):
    await publisher.publish(enrolled(host_id, first_time=False))
    await publisher.publish(enrolled(77))

    assert await eventually(told, timeout=30.0) == [(77, "")]


async def test_poison_is_buried_and_the_next_event_is_told(publisher, told, host_id, buried):
    await publisher.js.publish(HostEnrolledV1.subject, b"garbage")
    await publisher.publish(enrolled(host_id))

    assert await eventually(told, timeout=30.0) == [(host_id, "web-17")]
    assert await buried() == 1

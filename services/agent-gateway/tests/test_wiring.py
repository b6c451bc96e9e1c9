"""Wiring: what keeps revocations away makes the gateway deaf, and not ready."""

from __future__ import annotations

import asyncio
import time

import nats
import pytest
from agent_gateway.consumers.on_hosts import hosts_follower
from agent_gateway.domain import gateway as domain
from agent_gateway.wiring import build_gateway, hear_revocations
from flotilla_common.bus import follow
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.contracts import plans
from flotilla_common.http.health import Health
from flotilla_common.testing import eventually
from flotilla_common.testing.plugin import NatsOfWorker

from .conftest import BusFor


async def test_a_gateway_whose_follower_of_hosts_hears_nothing_is_deaf_though_the_connection_lives(
    bus_for: BusFor, nats_server: NatsOfWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FETCH_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(domain, "SILENCE_LIMIT_SECONDS", 2.0)
    bus, health = await bus_for("agent_gateway"), Health()
    gateway = build_gateway(bus, CustodyPublisher(bus), await open_bucket(bus, plans.BUCKET))
    follower = hosts_follower(bus, gateway.hosts)
    hear_revocations(gateway, bus, follower, health)
    bus.last_heard = time.monotonic() + 3600.0  # the connection is heard all the time
    following = asyncio.create_task(follower.run())
    await eventually(lambda: follower.caught_up.is_set() and not gateway.is_deaf())
    assert await health.failures(health.ready_checks) == {}

    where = nats_server.where
    provision = await nats.connect(
        where.url, user="provision", password=where.passwords["provision"], inbox_prefix=b"_INBOX.provision"
    )
    config = (await provision.jetstream().stream_info("HOSTS")).config
    await provision.jetstream().delete_stream("HOSTS")
    await eventually(gateway.is_deaf)
    failures = await health.failures(health.ready_checks)
    await provision.jetstream().add_stream(config)
    await eventually(lambda: not gateway.is_deaf())
    await provision.close()
    following.cancel()

    assert failures["revocations"].startswith("no word about revoked keys for")


async def test_a_silent_connection_makes_a_gateway_deaf(bus_for: BusFor) -> None:
    bus, health = await bus_for("agent_gateway"), Health()
    gateway = build_gateway(bus, CustodyPublisher(bus), await open_bucket(bus, plans.BUCKET))
    hear_revocations(gateway, bus, hosts_follower(bus, gateway.hosts), health)

    bus.last_heard = time.monotonic() - 61.0

    assert gateway.is_deaf()
    assert set(await health.failures(health.ready_checks)) == {"revocations"}

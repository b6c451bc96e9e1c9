"""Processes that end at commit points, and the world around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import nats
import pytest
from flotilla_common.bus.permissions import PROVISION_USER
from flotilla_common.contracts.campaigns import PauseCampaignV1, StartCampaignV1, StopCampaignV1
from flotilla_common.contracts.carves import BeginCarveV1
from flotilla_common.testing.database import clean
from flotilla_common.testing.plugin import make_streams_anew
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from .nurseries import Deaths, Nursery, open_nursery
from .world import World

collect_ignore = [] if os.environ.get("FLOTILLA_EVERY_COMMIT") else ["test_every_commit.py"]
HOT_BYTES = 1024 * 1024


@pytest.fixture(autouse=True)
def impatience(monkeypatch) -> None:
    """Whoever asked a process that died unheard asks again soon."""
    for request in (StartCampaignV1, StopCampaignV1, PauseCampaignV1, BeginCarveV1):
        monkeypatch.setattr(request, "timeout_seconds", 5.0)


@pytest.fixture
def deaths() -> Deaths:
    return Deaths()


@pytest.fixture
async def nursery(environment, tmp_path, deaths) -> AsyncIterator[Nursery]:
    """Its processes archive an open campaign above 1 MiB, an ended one after an hour."""
    policy = {"FLOTILLA_CAMPAIGN_HOT_BYTES": str(HOT_BYTES), "FLOTILLA_ARCHIVE_AFTER_SECONDS": "3600"}
    async with open_nursery(environment | policy, tmp_path / "nursery", deaths, hurried=True) as opened:
        yield opened


@pytest.fixture
async def unhurried_nursery(environment, tmp_path, deaths) -> AsyncIterator[Nursery]:
    """Its processes are as any other; ended campaigns stay in Redis."""
    policy = {"FLOTILLA_ARCHIVE_AFTER_SECONDS": "3600"}
    async with open_nursery(environment | policy, tmp_path / "nursery", deaths, hurried=False) as opened:
        yield opened


@pytest.fixture
async def world(
    admin, gateway, inventory, fleet, database, redis_url, deps, nats_server, deaths
) -> AsyncIterator[World]:
    where = nats_server.where
    engine = create_async_engine(database.owner_url)
    keeper = await nats.connect(
        where.url,
        user=PROVISION_USER,
        password=where.passwords[PROVISION_USER],
        inbox_prefix=f"_INBOX.{PROVISION_USER}".encode(),
    )
    async with Redis.from_url(redis_url) as client:
        yield World(admin, gateway, inventory, fleet, client, engine, deps, keeper.jetstream(), deaths)
    await keeper.close()
    await engine.dispose()


@pytest.fixture
async def make_anew(world, worker_superuser, worker_nats):
    """Empty the servers between two runs of one test."""

    async def make() -> None:
        clean(worker_superuser)
        await world.redis.flushdb()
        await make_streams_anew(world.keeper, worker_nats.streams)
        world.sent.clear()
        world.dead = 0

    return make

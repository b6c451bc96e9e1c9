"""A gateway on a real bus. The services that it asks are other packages: stand-ins answer for them (`stand_ins`), each
connected as that service's own NATS user, so that the bus's permissions are those of production.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx2
import msgspec
import nats
import pytest
from agent_gateway.app import create_app
from agent_gateway.consumers.on_campaigns import campaigns_follower
from agent_gateway.consumers.on_details import details_follower
from agent_gateway.consumers.on_device_tokens import device_tokens_follower
from agent_gateway.consumers.on_hosts import hosts_follower
from agent_gateway.consumers.on_plans import plans_follower
from agent_gateway.deps import Deps
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.surfaces import ORBIT_PREFIX
from agent_gateway.routes.door import Door
from agent_gateway.wiring import build_gateway
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fastapi import FastAPI
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.bus.objects import open_objects
from flotilla_common.bus.permissions import PROVISION_USER
from flotilla_common.contracts import campaigns, logs, plans
from flotilla_common.contracts.carves import BeginCarveV1
from flotilla_common.contracts.device_tokens import SetDeviceTokenV1
from flotilla_common.contracts.hosts import (
    EnrollHostV1,
    EnrollOrbitV1,
    RefetchHostV1,
    ResolveNodeKeysV1,
    ResolveOrbitKeysV1,
)
from flotilla_common.contracts.plans import RenderPlanV1
from flotilla_common.testing.plugin import NatsOfWorker

from .gateway_processes import command_keys_file, make_gateway
from .servers import Servers
from .stand_ins import StandInInventory, StandInLiveQuery, StandInMerger

__all__ = ["command_keys_file", "make_gateway"]  # fixtures for all tests here

BusFor = Callable[[str], Awaitable[Bus]]


@dataclass
class House:
    """One gateway with all that it talks to."""

    gateway: Gateway
    door: Door
    client: httpx2.AsyncClient
    bus: Bus
    inventory: StandInInventory
    merger: StandInMerger
    live_query: StandInLiveQuery

    @property
    def fastapi(self) -> FastAPI:
        """The application behind the door."""
        app: FastAPI = self.door._app  # type: ignore[assignment]
        return app

    async def post(
        self, path: str, body: object, *, headers: dict[str, str] | None = None, prefix: str = "/api/v1/osquery"
    ) -> httpx2.Response:
        """Post as a host does; bytes go as they are."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.post(f"{prefix}/{path}", content=content, headers=headers)

    async def orbit(self, path: str, body: object, *, headers: dict[str, str] | None = None) -> httpx2.Response:
        """Post as orbit does."""
        return await self.post(path, body, headers=headers, prefix=ORBIT_PREFIX)

    async def read(self, key: str) -> dict[str, object]:
        reply: dict[str, object] = (await self.post("distributed/read", {"node_key": key})).json()
        return reply


async def _answer_for(
    bus: Bus, tasks: asyncio.TaskGroup, *responders: Responder[object, None]
) -> list[asyncio.Task[None]]:
    started = []
    for responder in responders:
        ready = asyncio.Event()
        started.append(tasks.create_task(respond(bus, responder, None, ready=ready)))
        await ready.wait()
    return started


LimitStream = Callable[[int], Awaitable[None]]


@pytest.fixture
def limit_stream(nats_server: NatsOfWorker) -> LimitStream:
    """Give stream LOGS another size in bytes, as an operator could."""

    async def limit(size: int) -> None:
        where = nats_server.where
        prefix = f"_INBOX.{PROVISION_USER}".encode()
        client = await nats.connect(
            where.url, user=PROVISION_USER, password=where.passwords[PROVISION_USER], inbox_prefix=prefix
        )
        js = client.jetstream()
        config = (await js.stream_info(logs.STREAM)).config
        await js.update_stream(config.evolve(max_bytes=size))
        await client.close()

    return limit


@dataclass
class Neighbours:
    """The stand-ins, answering."""

    inventory: StandInInventory
    merger: StandInMerger
    live_query: StandInLiveQuery

    @property
    def command_keys(self) -> list[Ed25519PublicKey]:
        return [self.live_query.key.public_key()]


@pytest.fixture
async def neighbours(bus_for: BusFor) -> AsyncIterator[Neighbours]:
    """All whom a gateway asks."""
    inventory = StandInInventory(await bus_for("inventory"))
    merger_bus = await bus_for("config_merger")
    merger = StandInMerger(merger_bus, await open_bucket(merger_bus, plans.BUCKET))
    live_query_bus = await bus_for("live_query")
    live_query = StandInLiveQuery(
        await open_bucket(live_query_bus, campaigns.BUCKET),
        await open_objects(live_query_bus, campaigns.STORE),
        Ed25519PrivateKey.generate(),
    )
    async with asyncio.TaskGroup() as tasks:
        running = await _answer_for(
            inventory.bus,
            tasks,
            Responder(ResolveNodeKeysV1, inventory.resolve),  # type: ignore[arg-type]
            Responder(EnrollHostV1, inventory.enroll),  # type: ignore[arg-type]
            Responder(ResolveOrbitKeysV1, inventory.resolve_orbit),  # type: ignore[arg-type]
            Responder(EnrollOrbitV1, inventory.enroll_orbit),  # type: ignore[arg-type]
            Responder(SetDeviceTokenV1, inventory.set_token),  # type: ignore[arg-type]
            Responder(RefetchHostV1, inventory.refetch),  # type: ignore[arg-type]
        )
        running += await _answer_for(merger_bus, tasks, Responder(RenderPlanV1, merger.render))  # type: ignore[arg-type]
        running += await _answer_for(live_query_bus, tasks, Responder(BeginCarveV1, live_query.begin))  # type: ignore[arg-type]
        yield Neighbours(inventory, merger, live_query)
        for task in running:
            task.cancel()


BOTH_ROADS = pytest.mark.parametrize("house", [True, False], ids=["hot", "routes"], indirect=True)


@pytest.fixture
def scheme() -> str:
    """By which port hosts come where a test does not say: `http`, the plain one, or `https`."""
    return "http"


@pytest.fixture
async def house(
    bus_for: BusFor, neighbours: Neighbours, scheme: str, request: pytest.FixtureRequest
) -> AsyncIterator[House]:
    """A gateway that has caught up, reached without a socket; with BOTH_ROADS once by each road."""
    bus = await bus_for("agent_gateway")
    custody = CustodyPublisher(bus)
    await custody.open()
    gateway = build_gateway(bus, custody, await open_bucket(bus, plans.BUCKET), neighbours.command_keys)
    door = create_app(Deps(gateway), is_hot=getattr(request, "param", True))
    followers = [
        hosts_follower(bus, gateway.hosts, gateway.orbit.hosts),
        device_tokens_follower(bus, gateway.orbit.tokens),
        plans_follower(bus, gateway.plans, gateway.orbit.plans),
        details_follower(bus, gateway.query_sets),
        campaigns_follower(bus, gateway, neighbours.command_keys),
    ]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(run()) for run in (gateway.starts.run, *(follower.run for follower in followers))]
        for follower in followers:
            await follower.caught_up.wait()
        async with httpx2.AsyncClient(transport=Servers(door), base_url=f"{scheme}://gateway") as client:
            yield House(gateway, door, client, bus, neighbours.inventory, neighbours.merger, neighbours.live_query)
        await gateway.close()
        for task in running:
            task.cancel()

"""A gateway cut off from the bus without noticing: no word of revocations reaches it, and it knows its bound."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from agent_gateway.app import create_app
from agent_gateway.consumers.on_device_tokens import device_tokens_follower
from agent_gateway.consumers.on_hosts import hosts_follower
from agent_gateway.deps import Deps
from agent_gateway.domain import gateway as domain
from agent_gateway.wiring import build_gateway, hear_revocations
from flotilla_common.bus import connection, follow
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.contracts import plans
from flotilla_common.http.health import Health
from flotilla_common.testing import eventually
from flotilla_common.testing.plugin import SettingsFor

from .conftest import Neighbours

LIMIT_SECONDS = 2.0  # in the place of the 60 s of production
GRACE_SECONDS = 0.5  # for a busy machine
UNAVAILABLE = {"error": "unavailable"}
INVALID = {"error": "invalid_node_key", "node_invalid": True}


@dataclass
class Wire:
    """Passes bytes on to a server and back, but for the time that it is cut: then connections stay open and silent."""

    host: str
    port: int
    own_port: int = 0
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Wire]:
        self.whole.set()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.own_port = server.sockets[0].getsockname()[1]
        yield self
        server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(self.host, self.port)
        await asyncio.gather(self._copy(reader, behind[1]), self._copy(behind[0], writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self.whole.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class CutOff:
    """A gateway behind a wire, and what it answered when."""

    wire: Wire
    client: httpx2.AsyncClient
    health: Health
    bus: Bus

    async def config(self, key: str) -> Any:
        return (await self.client.post("/api/v1/osquery/config", json={"node_key": key})).json()


@pytest.fixture
async def cut_off(
    neighbours: Neighbours, bus_settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CutOff]:
    monkeypatch.setattr(domain, "SILENCE_LIMIT_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(connection, "HEARTBEAT_SECONDS", 1.0)
    monkeypatch.setattr(follow, "FETCH_TIMEOUT_SECONDS", 0.2)
    settings, health = bus_settings_for("agent_gateway"), Health()
    server = urlsplit(settings.nats_url)
    async with Wire(server.hostname or "", server.port or 0).open() as wire:
        bus = await connect(settings.model_copy(update={"nats_url": f"nats://127.0.0.1:{wire.own_port}"}))
        custody = CustodyPublisher(bus)
        await custody.open()
        gateway = build_gateway(bus, custody, await open_bucket(bus, plans.BUCKET))
        hosts = hosts_follower(bus, gateway.hosts, gateway.orbit.hosts)
        tokens = device_tokens_follower(bus, gateway.orbit.tokens)
        hear_revocations(gateway, bus, hosts, health)
        gateway.orbit.tokens.silence = lambda: tokens.silence_seconds
        running = [asyncio.create_task(endless) for endless in (hosts.run(), tokens.run(), bus.heartbeat())]
        await asyncio.gather(hosts.caught_up.wait(), tokens.caught_up.wait())
        transport = httpx2.ASGITransport(create_app(Deps(gateway)))  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield CutOff(wire, client, health, bus)
        wire.whole.set()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await gateway.close()
        await bus.close()


async def answers_until(cut_off: CutOff, key: str, last: Any) -> list[Any]:
    """Ask again and again until an answer is `last`; return all that differ from the one before."""
    found: list[Any] = []
    async with asyncio.timeout(30):
        while not found or found[-1] != last:
            answer = await cut_off.config(key)
            if not found or found[-1] != answer:
                found.append(answer)
            await asyncio.sleep(0.01)
    return found


async def test_a_gateway_cut_off_serves_a_revoked_key_no_longer_than_the_bound_and_never_calls_one_invalid(
    cut_off: CutOff, neighbours: Neighbours
) -> None:
    revoked, other = neighbours.inventory.add_host(1), neighbours.inventory.add_host(2)
    config = await cut_off.config(revoked)
    assert await cut_off.config(other) == config

    cut_at = time.monotonic()
    cut_off.wire.whole.clear()
    await neighbours.inventory.delete(revoked)
    while_cut = await answers_until(cut_off, revoked, UNAVAILABLE)
    deaf_after = time.monotonic() - cut_at
    stranger = await cut_off.config("never-existed")
    failures = await cut_off.health.failures(cut_off.health.ready_checks)

    assert while_cut == [config, UNAVAILABLE]
    assert deaf_after <= LIMIT_SECONDS + GRACE_SECONDS
    assert stranger == UNAVAILABLE
    assert failures["revocations"].startswith("no word about revoked keys for")
    assert cut_off.bus.client.is_connected


async def test_a_gateway_that_hears_again_refuses_what_was_revoked_meanwhile_and_serves_it_never_again(
    cut_off: CutOff, neighbours: Neighbours
) -> None:
    revoked, other = neighbours.inventory.add_host(1), neighbours.inventory.add_host(2)
    config = await cut_off.config(revoked)
    cut_off.wire.whole.clear()
    await neighbours.inventory.delete(revoked)
    await answers_until(cut_off, revoked, UNAVAILABLE)

    cut_off.wire.whole.set()
    after = await answers_until(cut_off, revoked, INVALID)

    assert after == [UNAVAILABLE, INVALID]
    assert await eventually(lambda: _is_served(cut_off, other, config))


async def _is_served(cut_off: CutOff, key: str, config: Any) -> bool:
    return bool(await cut_off.config(key) == config)

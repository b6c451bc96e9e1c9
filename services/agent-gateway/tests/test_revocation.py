"""What is revoked is refused by every process of every gateway within a second (P8).

Inventory is its real process on a real Postgres; one gateway has two workers, so that three processes serve hosts.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from agent_gateway.domain.surfaces import ORBIT_PREFIX
from flotilla_common.bus.answering import Responder
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts import plans
from flotilla_common.contracts.hosts import DeleteHostsV1, TransferHostsV1
from flotilla_common.contracts.plans import PlanHead, RenderPlanV1
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.db.models.admin_api import EnrollSecret, Team
from flotilla_common.db.models.inventory import Host
from flotilla_common.testing import eventually
from flotilla_common.testing.database import Database
from flotilla_common.testing.processes import running_service
from flotilla_stack.certificates import make_keys

from .conftest import BusFor, _answer_for
from .gateway_processes import CONFIG, PREFIX, READ, Make, connections_to_each
from .stand_ins import SECRET, StandInMerger

pytestmark = pytest.mark.timeout(300)

BOUND_SECONDS = 1.0
UUID = "4C4C4544-0051-3310-8052-B4C04F564D32"
INVALID = {"error": "invalid_node_key", "node_invalid": True}
Ask = Callable[[httpx2.AsyncClient], Awaitable[Any]]


class MergerByTeam(StandInMerger):
    """Gives each team a config that names it."""

    async def render(self, request: RenderPlanV1, _: None) -> PlanHead:
        return await self.save(request, config_of(request.team_id))


def config_of(team_id: int | None) -> bytes:
    return json.dumps({"team": team_id}, separators=(",", ":")).encode()


@pytest.fixture
def command_keys_file(tmp_path: Path) -> Path:
    """No live-query is needed here, and its stand-in would bring one of inventory."""
    return make_keys(tmp_path / "of-live-query", datetime.datetime.now(datetime.UTC)).command_keys


@dataclass
class Doors:
    """A kept connection to each process that serves hosts."""

    processes: list[httpx2.AsyncClient]
    admin: Bus
    database: Database
    polls: list[asyncio.Task[float]] = field(default_factory=list)

    async def host_id(self) -> int:
        [host] = await self.database.rows(Host)
        assert host.id is not None
        return host.id

    async def post(self, path: str, body: dict[str, Any], *, prefix: str = PREFIX) -> Any:
        """Ask the first process."""
        return (await self.processes[0].post(f"{prefix}/{path}", json=body)).json()

    async def enroll(self) -> str:
        answer = await self.post("enroll", {"enroll_secret": SECRET, "host_identifier": UUID})
        return str(answer["node_key"])

    async def enroll_orbit(self) -> str:
        body = {"enroll_secret": SECRET, "hardware_uuid": UUID, "platform": "ubuntu"}
        return str((await self.post("enroll", body, prefix=ORBIT_PREFIX))["orbit_node_key"])

    async def all_say(self, ask: Ask, expected: Any) -> bool:
        return [await ask(process) for process in self.processes] == [expected] * len(self.processes)

    def watch(self, ask: Ask, before: Any, after: Any) -> None:
        """Poll each process from now on. It may answer `before` until its first `after`, and only that then."""

        async def poll(process: httpx2.AsyncClient) -> float:
            while (answer := await ask(process)) != after:
                assert answer == before
            changed_at = time.monotonic()
            assert [await ask(process) for _ in range(20)] == [after] * 20
            return changed_at

        self.polls += [asyncio.create_task(poll(process)) for process in self.processes]

    async def seconds_until_all_changed(self, act: Callable[[], Awaitable[Any]]) -> float:
        """Do it; return how long after its begin the last process took notice."""
        began = time.monotonic()
        await act()
        async with asyncio.timeout(60):
            return max(await asyncio.gather(*self.polls)) - began


@pytest.fixture
async def doors(
    make_gateway: Make,
    bus_for: BusFor,
    database: Database,
    secrets_key: bytes,
    service_environment: Callable[[str], dict[str, str]],
) -> AsyncIterator[Doors]:
    secret = EnrollSecret(lookup_hash=enroll_secret_lookup(secrets_key, SECRET), ciphertext=b"-", allowed_networks=[])
    await database.add(secret)
    bus = await bus_for("config_merger")
    merger = MergerByTeam(bus, await open_bucket(bus, plans.BUCKET))
    gateways = [await make_gateway(1), await make_gateway(2)]
    environment = service_environment("inventory") | {"FLOTILLA_ENROLL_COOLDOWN_SECONDS": "0"}
    async with running_service("inventory", environment=environment) as inventory, AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            answering = await _answer_for(bus, tasks, Responder(RenderPlanV1, merger.render))  # type: ignore[arg-type]
            await asyncio.gather(inventory.ready(), *(gateway.start() for gateway in gateways))
            processes = [one for gateway in gateways for one in await connections_to_each(gateway, stack)]
            yield Doors(processes, await bus_for("admin_api"), database)
            for task in answering:
                task.cancel()


def ask_config(key: str) -> Ask:
    async def ask(process: httpx2.AsyncClient) -> Any:
        return (await process.post(f"{PREFIX}/{CONFIG}", json={"node_key": key})).json()

    return ask


def ask_read(key: str) -> Ask:
    async def ask(process: httpx2.AsyncClient) -> Any:
        return (await process.post(f"{PREFIX}/{READ}", json={"node_key": key})).json()

    return ask


def ask_orbit(key: str) -> Ask:
    async def ask(process: httpx2.AsyncClient) -> Any:
        return (await process.post(f"{ORBIT_PREFIX}/config", json={"orbit_node_key": key})).status_code

    return ask


def ask_device(token: str) -> Ask:
    async def ask(process: httpx2.AsyncClient) -> Any:
        return (await process.head(f"/api/latest/fleet/device/{token}/ping")).status_code

    return ask


async def new_device_token(doors: Doors, orbit_key: str) -> str:
    """Set a token, and wait until every process has heard of it."""
    token = str(uuid4())
    body = {"orbit_node_key": orbit_key, "device_auth_token": token}
    assert await doors.post("device_token", body, prefix=ORBIT_PREFIX) == {}
    await eventually(lambda: doors.all_say(ask_device(token), 200), timeout=30.0)
    return token


async def test_a_deleted_host_its_orbit_and_its_desktop_are_refused_everywhere_within_a_second(doors: Doors) -> None:
    key, orbit_key = await doors.enroll(), await doors.enroll_orbit()
    token = await new_device_token(doors, orbit_key)
    assert await doors.all_say(ask_config(key), {"team": None})
    host_id = await doors.host_id()
    doors.watch(ask_config(key), {"team": None}, INVALID)
    doors.watch(ask_read(key), {"queries": {}}, INVALID)
    doors.watch(ask_orbit(orbit_key), 200, 401)
    doors.watch(ask_device(token), 200, 401)

    seconds = await doors.seconds_until_all_changed(lambda: doors.admin.request(DeleteHostsV1(host_ids=(host_id,))))

    assert seconds <= BOUND_SECONDS


async def test_a_key_replaced_by_another_enroll_is_refused_everywhere_within_a_second(doors: Doors) -> None:
    old = await doors.enroll()
    assert await doors.all_say(ask_config(old), {"team": None})
    doors.watch(ask_config(old), {"team": None}, INVALID)
    new: list[str] = []

    async def enroll_again() -> None:
        new.append(await doors.enroll())
        assert await doors.all_say(ask_read(new[0]), {"queries": {}})

    seconds = await doors.seconds_until_all_changed(enroll_again)

    assert seconds <= BOUND_SECONDS
    assert new != [old]


async def test_orbits_key_and_token_replaced_by_another_enroll_are_refused_everywhere_within_a_second(
    doors: Doors,
) -> None:
    old = await doors.enroll_orbit()
    token = await new_device_token(doors, old)
    assert await doors.all_say(ask_orbit(old), 200)
    doors.watch(ask_orbit(old), 200, 401)
    doors.watch(ask_device(token), 200, 401)

    seconds = await doors.seconds_until_all_changed(doors.enroll_orbit)

    assert seconds <= BOUND_SECONDS


async def test_a_transferred_host_gets_what_its_new_team_gets_everywhere_within_a_second(doors: Doors) -> None:
    key = await doors.enroll()
    assert await doors.all_say(ask_config(key), {"team": None})
    team, host_id = Team(name="Servers"), await doors.host_id()
    await doors.database.add(team)
    doors.watch(ask_config(key), {"team": None}, {"team": team.id})

    seconds = await doors.seconds_until_all_changed(
        lambda: doors.admin.request(TransferHostsV1(host_ids=(host_id,), team_id=team.id))
    )

    assert seconds <= BOUND_SECONDS

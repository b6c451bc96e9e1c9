"""The real processes of admin-api and live-query together: from the click to the last row, and the stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.campaigns import AnswerBatch, CampaignAnswer, answers_subject
from flotilla_common.contracts.labels import ALL_HOSTS
from flotilla_common.contracts.shards import shard_of
from flotilla_common.testing.processes import running_service
from flotilla_stack.servers.ports import choose_port
from websockets.asyncio.client import connect

from .conftest import Viewer

SETUP = {
    "admin": {"name": "Ada", "email": "ada@acme.test", "password": "correct-Horse-7"},
    "org_info": {"org_name": "Acme"},
    "server_url": "https://fleet.acme.test",
}
SQL = "SELECT port FROM listening_ports"


@dataclass
class Door:
    """The running installation as a person sees it."""

    port: int
    client: httpx2.AsyncClient
    token: str = ""

    async def log_in(self) -> None:
        self.token = (await self.client.post("/api/v1/setup", json=SETUP)).json()["token"]
        self.client.headers["Authorization"] = f"Bearer {self.token}"

    async def run(self, **selected: list[int]) -> int:
        answer = await self.client.post("/api/v1/fleet/queries/run", json={"query": SQL, "selected": selected})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["campaign"]["id"])

    async def campaign(self, number: int) -> dict[str, Any]:
        return dict((await self.client.get(f"/api/v1/fleet/campaigns/{number}")).json()["campaign"])

    @asynccontextmanager
    async def watching(self, campaign: int) -> AsyncIterator[Viewer]:
        async with connect(f"ws://127.0.0.1:{self.port}/api/latest/fleet/results/websocket", max_size=None) as opened:
            viewer = Viewer(opened)
            await viewer.send("auth", {"token": self.token})
            await viewer.send("select_campaign", {"campaign_id": campaign})
            yield viewer


@pytest.fixture
async def installation(service_environment: Callable[[str], dict[str, str]], tmp_path: Path) -> AsyncIterator[Door]:
    key = tmp_path / "signing.key"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    port = choose_port()
    of_admin = service_environment("admin_api") | {"FLOTILLA_LISTEN_PORT": str(port)}
    of_live_query = service_environment("live_query") | {"FLOTILLA_SIGNING_KEY_FILE": str(key)}
    async with (
        running_service("live_query", environment=of_live_query) as live_query,
        running_service("admin_api", environment=of_admin) as admin_api,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as client,
    ):
        await asyncio.gather(live_query.ready(), admin_api.ready())
        door = Door(port, client)
        await door.log_in()
        yield door


async def answer(gateway: Bus, campaign: int, host: int, status: int = 0, message: str = "") -> None:
    """Do what a gateway does with a host's answer."""
    rows = msgspec.Raw(json.dumps([{"port": str(host)}]).encode())
    found = CampaignAnswer(campaign, 1, status, message, rows, msgspec.Raw(b"null"))
    batch = AnswerBatch(v=1, host_id=host, team_id=0, received_ms=0, answers=[found])
    await gateway.js.publish(answers_subject(shard_of(host)), msgspec.json.encode([batch]))


async def test_two_viewers_see_every_host_exactly_once_though_some_answer_twice(fleet, installation, bus_for):
    hosts = [await fleet.host(f"host-{number}") for number in range(50)]
    gateway = await bus_for("agent_gateway")
    campaign = await installation.run(labels=[ALL_HOSTS])

    async with installation.watching(campaign) as first, installation.watching(campaign) as second:
        await first.next("status")
        for host in [*hosts[:49], *hosts[:10]]:
            await answer(gateway, campaign, host)
        await answer(gateway, campaign, hosts[49], 1, "no such table: listening_ports")
        results = [await viewer.results(50) for viewer in (first, second)]
        statuses = [(await viewer.next("status"))["data"] for viewer in (first, second)]
    ledger = (await installation.campaign(campaign))["hosts"]

    for seen in results:
        assert sorted(result["host"]["id"] for result in seen) == hosts
        assert all(result["rows"][0]["port"] == str(result["host"]["id"]) for result in seen if "error" not in result)
    assert [(status["status"], status["actual_results"]) for status in statuses] == [("finished", 50)] * 2
    assert (ledger["answered"], ledger["failed"], ledger["pending"]) == (49, 1, 0)


async def test_a_stopped_campaign_is_finished_and_its_silent_hosts_are_cancelled(fleet, installation, bus_for):
    hosts = [await fleet.host(f"host-{number}") for number in range(3)]
    gateway = await bus_for("agent_gateway")
    campaign = await installation.run(hosts=hosts)

    async with installation.watching(campaign) as viewer:
        await answer(gateway, campaign, hosts[0])
        await viewer.results(1)
        assert (await installation.client.delete(f"/api/v1/fleet/campaigns/{campaign}")).json() == {}
        while (await viewer.next("status"))["data"]["status"] != "finished":
            pass
    found = await installation.campaign(campaign)

    assert (found["status"], found["end_reason"]) == (2, "stopped")
    assert (found["hosts"]["answered"], found["hosts"]["cancelled"]) == (1, 2)


async def test_a_synchronous_run_ends_as_soon_as_its_hosts_have_answered(fleet, installation, bus_for):
    host = await fleet.host("a")
    gateway = await bus_for("agent_gateway")
    run = asyncio.ensure_future(installation.client.post(f"/api/v1/fleet/hosts/{host}/query", json={"query": SQL}))
    async with asyncio.timeout(20):  # the wait is 25 s
        while not run.done():
            # The first campaign of a new installation is number 1; before it is there, an answer means nothing.
            await answer(gateway, 1, host)
            await asyncio.wait([run], timeout=0.2)

    assert (await run).json() == {"host_id": host, "rows": [{"port": str(host)}], "query": SQL, "status": "online"}

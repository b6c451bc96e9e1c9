"""2,000 hosts enroll at the same moment: all come in, and those that are in go on to be served.

The gateway is in this process, on a real bus; inventory is its real process on a real Postgres.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from agent_gateway.app import create_app
from agent_gateway.consumers.on_hosts import hosts_follower
from agent_gateway.deps import Deps
from agent_gateway.domain.gateway import Gateway
from agent_gateway.routes.door import Door
from agent_gateway.wiring import build_gateway
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.contracts import plans
from flotilla_common.contracts.hosts import ResolveNodeKeysV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.db.models.admin_api import EnrollSecret
from flotilla_common.db.models.inventory import Host
from flotilla_common.errors import Unanswered
from flotilla_common.testing.processes import running_service

HOSTS = 2000
BOUND_SECONDS = 240.0  # for all of them, on a busy machine
POLL_SECONDS = 5.0  # osqueryd gives up after 16 s
RETRY_SECONDS = 5.0
ATTEMPTS = 24
SECRET = "let-me-in"


@dataclass
class Front:
    """A gateway, called as its server calls it."""

    gateway: Gateway
    door: Door

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": f"/api/v1/osquery/{path}",
            "raw_path": f"/api/v1/osquery/{path}".encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "https",
            "headers": [(b"content-type", b"application/json")],
            "client": ("192.0.2.1", 4711),
            "server": ("gateway", 443),
        }
        sent = [{"type": "http.request", "body": msgspec.json.encode(body), "more_body": False}]
        answer = b""

        async def receive() -> dict[str, Any]:
            return sent.pop() if sent else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: dict[str, Any]) -> None:
            nonlocal answer
            answer += message.get("body", b"")

        await self.door(scope, receive, send)  # type: ignore[arg-type]
        decoded: dict[str, Any] = msgspec.json.decode(answer)
        return decoded

    async def enroll(self, identifier: str) -> str:
        """Enroll as osqueryd does with --tls_enroll_max_interval=5: after the n-th failure wait n² s, 5 at most."""
        body = {"enroll_secret": SECRET, "host_identifier": identifier, "host_details": details_of(identifier)}
        for failures in range(1, ATTEMPTS + 1):
            answer = await self.post("enroll", body)
            if "node_key" in answer:
                return str(answer["node_key"])
            assert answer == {"error": "unavailable"}
            await asyncio.sleep(min(failures * failures, RETRY_SECONDS))
        raise AssertionError(f"{identifier} was not let in")


def details_of(identifier: str) -> dict[str, dict[str, str]]:
    return {
        "os_version": {"name": "Ubuntu", "version": "22.04 LTS", "major": "22", "platform": "ubuntu"},
        "osquery_info": {"version": "5.17.0", "instance_id": f"i-{identifier}", "build_platform": "linux"},
        "system_info": {"hostname": identifier, "cpu_brand": "Sample\0\0", "hardware_serial": f"S-{identifier}"},
    }


@pytest.fixture
async def front(bus_for, database, secrets_key, service_environment) -> AsyncIterator[Front]:
    secret = EnrollSecret(lookup_hash=enroll_secret_lookup(secrets_key, SECRET), ciphertext=b"-", allowed_networks=[])
    await database.add(secret)
    bus = await bus_for("agent_gateway")
    custody = CustodyPublisher(bus)
    await custody.open()
    gateway = build_gateway(bus, custody, await open_bucket(bus, plans.BUCKET))
    follower = hosts_follower(bus, gateway.hosts)
    async with running_service("inventory", environment=service_environment("inventory")) as inventory:
        await inventory.ready()
        following = [asyncio.create_task(endless) for endless in (follower.run(), bus.heartbeat())]
        await follower.caught_up.wait()
        yield Front(gateway, create_app(Deps(gateway)))
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await gateway.close()


async def repeat_until(done: asyncio.Event, act: Any) -> list[float]:
    """Do it again and again until then; return how long each took."""
    took = []
    while not done.is_set():
        began = time.monotonic()
        await act()
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    return took


@pytest.mark.impatient
@pytest.mark.timeout(300)
async def test_two_thousand_enrolls_at_once_succeed_while_polls_and_resolves_go_on(front, bus_for, database):
    known = await front.enroll("known")
    other_bus = await bus_for("agent_gateway")
    done = asyncio.Event()
    unanswered: list[float] = []

    async def poll() -> None:
        assert await front.post("distributed/read", {"node_key": known}) == {"queries": {}}

    async def resolve() -> None:
        try:
            answer = await other_bus.request(ResolveNodeKeysV1(key_hashes=(hash_node_key(known).hex(),)))
        except Unanswered:  # within the 2 s that a gateway waits for it
            unanswered.append(time.monotonic())
        else:
            assert len(answer.hosts) == 1

    polls, resolves = (asyncio.create_task(repeat_until(done, act)) for act in (poll, resolve))
    async with asyncio.timeout(BOUND_SECONDS):
        keys = await asyncio.gather(*(front.enroll(f"A-{number}") for number in range(HOSTS)))
    done.set()

    assert len(set(keys)) == HOSTS
    hashes = {bytes(host.node_key_hash) for host in await database.rows(Host)}
    assert hashes == {hash_node_key(key) for key in (known, *keys)}
    assert max(await polls) < POLL_SECONDS
    assert len(unanswered) <= len(await resolves) / 10  # some, where other work keeps this very process waiting
    last = await front.post("distributed/read", {"node_key": keys[-1]})
    assert last == {"queries": {}}

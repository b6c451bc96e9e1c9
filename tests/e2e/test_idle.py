"""An idle host costs nothing: 100,000 idle polls, counted at NATS, Redis and Postgres against idle control runs.

Idle polls are those of real hosts: an empty `distributed/read` with nothing due, a `config` that has not changed (by
etag, or sent whole), and `orbit/config`; half of them over TLS, half by the plain port. In the control runs the same
hosts poll as well, a few times each: that a host was seen is reported every 10 s, one message of each gateway for all
hosts together, whether they polled once or a thousand times. So the runs differ in the number of polls alone, and
nothing may grow with it: more than one message, command or transaction in a thousand polls, beyond what the control
runs differ by, fails the test. The gateways' own count of what they ask of others must not move at all.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest
from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from .counts import Counts, Servers, between, beyond_noise, servers_of
from .machines import PREFIX, Machine, Machines
from .people import Person
from .pollers import Poll, poll, poll_of

POLLS = 100_000
HOSTS = 50
SLACK = POLLS // 1000
RUN_SECONDS = 10.0  # at least: in each run every gateway reports who was seen
OPTIONS = {"config": {"options": {"distributed_interval": 10}}}


@dataclass
class Hosts:
    """Enrolled hosts and all that they ask while they are idle."""

    machines: list[Machine]
    polls: list[Poll]
    enrolling: Counts
    """What the servers counted while they enrolled."""


async def idle_polls(machine: Machine, orbit_key: str) -> list[Poll]:
    """Return the polls of one host in the proportion in which real ones come: 6 reads, a config, 2 of orbit's."""
    key = {"node_key": machine.node_key}
    config = (await machine.client.post(f"{PREFIX}/config", json=key)).content
    etag = json.loads((await machine.client.post(f"{PREFIX}/config", json={**key, "etag": ""})).content)["etag"]
    orbit = {"orbit_node_key": orbit_key}
    orbit_config = (await machine.client.post("/api/fleet/orbit/config", json=orbit)).content

    def to(path: str, body: dict[str, str], answer: bytes) -> Poll:
        return poll_of(path, json.dumps(body).encode(), answer)

    read = to(f"{PREFIX}/distributed/read", key, b'{"queries":{}}')
    unchanged = to(f"{PREFIX}/config", {**key, "etag": etag}, b'{"etag":"ok"}')
    whole, of_orbit = to(f"{PREFIX}/config", key, config), to("/api/fleet/orbit/config", orbit, orbit_config)
    return [read, read, read, unchanged, of_orbit, read, read, read, whole, of_orbit]


@pytest.fixture
async def servers(stack: RunningStack):
    async with servers_of(stack.dev()) as found:
        yield found


@pytest.fixture
async def hosts(admin: Person, machines: Machines, servers: Servers):
    """Hosts of a team of their own, which nobody asks anything."""
    _, secret = await admin.team(f"Idle {uuid4()}", mode="replace", options=OPTIONS)
    async with machines.machine("") as first:
        before = await servers.counts()
        found = [Machine(first.client, f"idle-{uuid4()}") for _ in range(HOSTS)]
        polls: list[Poll] = []
        for machine in found:
            await machine.enroll(secret)
            body = {"enroll_secret": secret, "hardware_uuid": machine.identifier, "platform": "ubuntu"}
            reply = await machine.client.post("/api/fleet/orbit/enroll", json=body)
            polls += await idle_polls(machine, reply.json()["orbit_node_key"])
        yield Hosts(found, polls, between(before, await servers.counts()))


async def counted(servers: Servers, act: Callable[[], Awaitable[None]]) -> tuple[dict[str, int], float]:
    """Return what the servers count within a run that begins with an act, and how many seconds it lasted."""
    began = time.monotonic()
    before = await servers.counts()
    await act()
    await asyncio.sleep(max(0.0, began + RUN_SECONDS - time.monotonic()))
    return between(before, await servers.counts()), time.monotonic() - began


def as_long(run: tuple[dict[str, int], float], seconds: float) -> dict[str, int]:
    """Return what would have been counted had the run lasted so long."""
    counts, lasted = run
    return {name: round(count * seconds / lasted) for name, count in counts.items()}


async def test_a_hundred_thousand_idle_polls_touch_the_memory_of_gateways_only(
    stack: RunningStack, admin: Person, servers: Servers, hosts: Hosts
):
    dev = stack.dev()
    tls = ssl.create_default_context(cafile=dev["ca_file"])
    ports = [gateway[port] for gateway in dev["gateways"] for port in ("url", "plain_url")]

    async def each_port(polls: int) -> None:
        turns = [asyncio.to_thread(poll, port, hosts.polls, polls, tls) for port in ports]
        assert await asyncio.gather(*turns) == [polls] * len(ports)

    async def once() -> None:
        await each_port(len(hosts.polls))

    async def many() -> None:
        await each_port(POLLS // len(ports))

    await once()  # gateways learn who they are
    before = await counted(servers, once)
    asked = await servers.backend_operations()
    polled, seconds = await counted(servers, many)
    asked_then = await servers.backend_operations()
    controls = [as_long(control, seconds) for control in (before, await counted(servers, once))]

    assert beyond_noise(polled, controls, SLACK) == {}
    assert asked_then == asked
    await assert_that_traffic_is_counted(admin, servers, hosts)


async def assert_that_traffic_is_counted(admin: Person, servers: Servers, hosts: Hosts) -> None:
    """Had the polls touched a server, it would have been seen: what enrolls and answers cost is seen, by each count."""
    asked = await servers.backend_operations()
    before = await servers.counts()
    by_name = {host["hostname"]: host["id"] for host in await admin.hosts(query="idle-", per_page=1000)}
    await admin.run("SELECT 1", hosts=[by_name[machine.identifier] for machine in hosts.machines])
    for machine in hosts.machines:
        await answer_once(machine)
    answering = between(before, await servers.counts())

    assert {name for name in answering if answering[name] + hosts.enrolling[name] > 2 * HOSTS} == set(answering)
    assert await servers.backend_operations() > asked


async def answer_once(machine: Machine) -> None:
    """Answer the query that the host is asked."""
    key = {"node_key": machine.node_key}

    async def asked() -> object:
        return (await machine.post("/distributed/read", key))["queries"]

    queries = await eventually(asked)
    results = {"queries": {name: [{"1": "1"}] for name in queries}, "statuses": dict.fromkeys(queries, 0)}
    assert await machine.post("/distributed/write", key | results) == {}


def test_one_message_in_a_hundred_polls_is_more_than_noise():
    controls = [{"messages": 1000, "commands": 0}, {"messages": 1200, "commands": 0}]

    assert beyond_noise({"messages": 1400, "commands": 0}, controls, SLACK) == {}
    assert beyond_noise({"messages": 1200 + POLLS // 100, "commands": SLACK + 1}, controls, SLACK) == {
        "messages": (1200 + POLLS // 100, [1000, 1200]),
        "commands": (SLACK + 1, [0, 0]),
    }

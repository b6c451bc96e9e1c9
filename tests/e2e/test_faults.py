"""Parts die while 50 hosts talk: nobody enrolls again, no acknowledged line is missing, all goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from .machines import Fleet, Machines
from .people import Person
from .shipped import Shipped

HOSTS = 50
OUTAGE_SECONDS = 30.0
FLAGS = {
    "config_refresh": 2,
    "config_accelerated_refresh": 2,
    "distributed_interval": 2,
    "logger_tls_period": 1,
    "logger_tls_backoff_max": 4,
}
OPTIONS = {"config": {"options": {key: FLAGS[key] for key in ("distributed_interval", "logger_tls_period")}}}


@pytest.fixture(scope="module")
def fleet(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """50 hosts that log every second."""
    dev = stack.dev()
    machines = Machines(dev["url"], dev["ca_file"], tmp_path_factory.mktemp("faults"))
    with machines.fleet("faults", dev["enroll_secret"], hosts=HOSTS, **FLAGS) as running:
        yield running


@pytest.fixture
async def busy(admin: Person, fleet: Fleet) -> Fleet:
    """The hosts, once all of them are in and have a schedule of a second."""
    await admin.call("PATCH", "/config", {"agent_options": OPTIONS})
    queries = (await admin.call("GET", "/queries"))["queries"]
    if "Every second" not in {query["name"] for query in queries}:
        query = {"name": "Every second", "query": "SELECT pid FROM osquery_info", "interval": 1}
        await admin.call("POST", "/queries", query | {"logging": "snapshot", "automations_enabled": True})

    await eventually(lambda: fleet.report_file.exists() and fleet.report()["hosts_enrolled"] == HOSTS, timeout=60)
    await eventually(lambda: accepted(fleet) > 0, timeout=60)
    return fleet


def accepted(fleet: Fleet) -> int:
    """Return how many result lines the server has acknowledged so far."""
    count: int = fleet.report()["lines"]["result"]["accepted"]
    return count


async def goes_on(fleet: Fleet) -> None:
    """Wait until much more than what was on its way is acknowledged."""
    before = accepted(fleet)
    await eventually(lambda: accepted(fleet) > before + 5 * HOSTS, timeout=90)


async def asked(admin: Person, fleet: Fleet) -> list[dict[str, Any]]:
    """Ask all simulated hosts that are online now something, and return who answered."""

    async def all_online() -> list[int]:
        found = [host["id"] for host in await admin.hosts(status="online") if host["team_id"] is None]
        assert len(found) >= HOSTS
        return found

    hosts = await eventually(all_online, timeout=60)
    campaign_id = await admin.run("SELECT version FROM osquery_info", hosts=hosts[:HOSTS])
    return (await admin.watch(campaign_id, seconds=90)).results


@pytest.mark.parametrize("server", ["postgres", "nats", "valkey"])
async def test_a_server_down_for_half_a_minute_costs_nothing(
    admin: Person, stack: RunningStack, busy: Fleet, machines: Machines, server: str
) -> None:
    async with machines.machine(f"e2e-{server}") as known:
        await known.enroll(stack.dev()["enroll_secret"])
        before = await known.config()
        stopped = stack.ctl("stop", server)
        await asyncio.sleep(OUTAGE_SECONDS)
        during = await known.config()
        started = stack.ctl("start", server)
    await goes_on(busy)
    answered = await asked(admin, busy)
    counters = busy.report()["counters"]

    assert (stopped.returncode, started.returncode) == (0, 0), stopped.stderr + started.stderr
    assert during == before
    assert len(answered) == HOSTS
    assert (counters["enrolls"], counters.get("re-enrolls", 0), counters.get("empty_bodies", 0)) == (HOSTS, 0, 0)


def failed_posts(fleet: Fleet) -> int:
    """Return how many log requests have failed so far."""
    failures: dict[str, int] = fleet.report()["failures"]
    return sum(count for name, count in failures.items() if name.startswith("log: "))


async def kill_and_start(stack: RunningStack, fleet: Fleet, number: int, *, pause: bool) -> None:
    """Kill a gateway in the middle of its work; paused before, it surely has requests that it has not answered."""
    name = f"agent-gateway-{number}"
    done = [stack.ctl("pause", name)] if pause else []
    if pause:
        before = accepted(fleet)
        await eventually(lambda: accepted(fleet) > before + HOSTS, timeout=60)  # at the other one
    done.append(stack.ctl("kill", name))
    await goes_on(fleet)
    done.append(stack.ctl("start", name))
    assert [one.returncode for one in done] == [0] * len(done), [one.stderr for one in done]


async def test_gateways_killed_while_hosts_post_through_the_edge(stack: RunningStack, busy: Fleet) -> None:
    before = failed_posts(busy)
    for number, pause in ((1, False), (2, False), (1, True), (2, True)):
        await kill_and_start(stack, busy, number, pause=pause)
    await eventually(lambda: failed_posts(busy) > before, timeout=30)
    await goes_on(busy)
    counters = busy.report()["counters"]

    assert counters.get("empty_bodies", 0) == 0
    assert counters.get("re-enrolls", 0) == 0


async def test_after_all_that_no_acknowledged_line_is_missing(busy: Fleet, shipped: Shipped) -> None:
    """The last one: it stops the hosts, so that what they sent is final."""
    busy.stop()
    by_kind = busy.accepted()
    lines = by_kind["result"] + by_kind["status"]
    counted = {kind: figures["accepted"] for kind, figures in busy.report()["lines"].items()}

    await eventually(lambda: set(lines) <= set(shipped.in_files()), timeout=60)
    await eventually(lambda: set(lines) <= set(shipped.in_bucket()), timeout=60)
    assert {kind: len(ids) for kind, ids in by_kind.items()} == counted
    assert all(by_kind.values())

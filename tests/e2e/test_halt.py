"""An administrator turns live queries off: no gateway asks anybody, and all goes on when they are on again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from .machines import Machine, Machines
from .people import Person

SQL = "SELECT 1 AS one"
HALT_SECONDS = 8.0  # the promise is one second, which `make bench` measures; what makes up for a lost word takes 15
HALTED = "flotilla_gateway_campaigns_halted"


@pytest.fixture
async def at_each_gateway(admin: Person, machines: Machines, stack: RunningStack) -> AsyncIterator[list[list[Machine]]]:
    """Two hosts at each gateway."""
    _, secret = await admin.team("Halted", mode="merge", options={})
    async with AsyncExitStack() as entered:
        found = []
        for number, gateway in enumerate(stack.dev()["gateways"]):
            pair = [
                await entered.enter_async_context(machines.machine(f"halted-{number}-{one}", url=gateway["url"]))
                for one in "ab"
            ]
            for machine in pair:
                await machine.enroll(secret)
            found.append(pair)
        yield found


async def asked(machine: Machine) -> dict[str, str]:
    """Return what a host that polls is asked."""
    queries: dict[str, str] = (await machine.post("/distributed/read", {"node_key": machine.node_key}))["queries"]
    return queries


async def answer(machine: Machine, queries: dict[str, str]) -> None:
    """Answer it with a row."""
    rows = {name: [{"one": "1"}] for name in queries}
    body = {"node_key": machine.node_key, "queries": rows, "statuses": dict.fromkeys(queries, 0)}
    assert await machine.post("/distributed/write", body) == {}


async def turn(admin: Person, stack: RunningStack, *, off: bool) -> float:
    """Turn live queries off or on, and wait until each gateway knows; return how many seconds that took."""
    began = time.monotonic()
    await admin.call("PATCH", "/config", {"server_settings": {"live_query_disabled": off}})
    async with httpx2.AsyncClient() as http:

        async def all_know() -> bool:
            texts = [(await http.get(gateway["metrics_url"])).text for gateway in stack.dev()["gateways"]]
            return all(f"{HALTED} {float(off)}" in text for text in texts)

        await eventually(all_know, timeout=30)
    return time.monotonic() - began


async def test_nobody_is_asked_while_live_queries_are_off(
    admin: Person, stack: RunningStack, at_each_gateway: list[list[Machine]]
) -> None:
    first, second = ([pair[number] for pair in at_each_gateway] for number in (0, 1))
    names = {machine.identifier for machine in (*first, *second)}
    hosts = [host["id"] for host in await admin.hosts() if host["hostname"] in names]
    campaign_id = await admin.run(SQL, hosts=hosts)
    before = [await eventually(lambda machine=machine: asked(machine), timeout=30) for machine in first]
    try:
        seconds = await turn(admin, stack, off=True)
        while_off = [await asked(machine) for machine in second]
        for machine, queries in zip(first, before, strict=True):
            await answer(machine, queries)
        shown = await ledger_of(admin, campaign_id, answered=len(first))
        refused = await admin.client.post(
            "/api/v1/fleet/queries/run", json={"query": SQL, "selected": {"hosts": hosts}}
        )
    finally:
        await turn(admin, stack, off=False)
    for machine in second:
        await answer(machine, await asked(machine))

    assert len(hosts) == len(names)
    assert seconds < HALT_SECONDS
    assert while_off == [{}] * len(second)
    assert shown["halted"] is True
    assert refused.status_code == 403
    assert (await ledger_of(admin, campaign_id, answered=len(hosts)))["halted"] is False


async def ledger_of(admin: Person, campaign_id: int, *, answered: int) -> dict[str, Any]:
    """Return a campaign once so many hosts have answered."""

    async def all_in() -> dict[str, Any] | None:
        campaign: dict[str, Any] = (await admin.call("GET", f"/campaigns/{campaign_id}"))["campaign"]
        return campaign if campaign["hosts"]["answered"] == answered else None

    found: dict[str, Any] = await eventually(all_in, timeout=30)
    return found

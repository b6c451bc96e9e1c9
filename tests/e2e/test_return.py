"""A host that is off when a live query starts answers when it is back, whatever was restarted, and counts once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from .machines import Machine, Machines
from .people import Person

SQL = "SELECT 1 AS one"
RESTARTED = ("agent-gateway-1", "agent-gateway-2", "live-query")
SECONDS = 60.0


async def asked(machine: Machine, campaign_id: int) -> str | None:
    """Return the name of the campaign's query once a host that polls is given it."""
    read = await machine.post("/distributed/read", {"node_key": machine.node_key})
    names: list[str] = list(read.get("queries", {}))
    return next((name for name in names if name.split("_")[3:4] == [str(campaign_id)]), None)


async def answer(machine: Machine, name: str) -> bool:
    """Answer with a row; say whether it was taken."""
    body = {"node_key": machine.node_key, "queries": {name: [{"one": "1"}]}, "statuses": {name: 0}}
    return await machine.post("/distributed/write", body) == {}


async def campaign(admin: Person, campaign_id: int) -> dict[str, Any]:
    """Return what the API shows."""
    found: dict[str, Any] = (await admin.call("GET", f"/campaigns/{campaign_id}"))["campaign"]
    return found


async def has(admin: Person, campaign_id: int, **hosts: int) -> bool:
    """Whether a ledger counts so many hosts in these states."""
    return hosts.items() <= (await campaign(admin, campaign_id))["hosts"].items()


async def restart(stack: RunningStack) -> None:
    """Kill the gateways and live-query, then start them; a start waits until they are ready."""
    for words in ("kill", "start"):
        for name in RESTARTED:
            done = await asyncio.to_thread(stack.ctl, words, name)
            assert done.returncode == 0, done.stderr


async def test_a_host_that_was_off_answers_when_it_is_back(
    admin: Person, stack: RunningStack, machines: Machines
) -> None:
    _, secret = await admin.team("Away", mode="merge", options={})
    urls = [gateway["url"] for gateway in stack.dev()["gateways"]]
    async with machines.machine("stays", url=urls[0]) as here, machines.machine("returns", url=urls[1]) as away:
        for machine in (here, away):
            await machine.enroll(secret)
        ids = {host["hostname"]: host["id"] for host in await admin.hosts() if host["hostname"] in {"stays", "returns"}}
        body = {
            "query": SQL,
            "selected": {"hosts": list(ids.values()), "labels": [], "teams": []},
            "deadline": (datetime.now(UTC) + timedelta(days=2)).isoformat(),
        }
        number = (await admin.call("POST", "/queries/run", body))["campaign"]["id"]
        name = await eventually(lambda: asked(here, number), timeout=SECONDS)
        assert await answer(here, name)
        await eventually(lambda: has(admin, number, answered=1, pending=1), timeout=SECONDS)

        await restart(stack)

        assert await has(admin, number, targeted=2, answered=1, pending=1)
        late = await eventually(lambda: asked(away, number), timeout=SECONDS)
        again = await asked(here, number)
        for _ in range(2):  # and repeats it, as hosts do that are not sure
            assert await eventually(lambda: answer(away, late), timeout=SECONDS)
        await eventually(lambda: has(admin, number, answered=2, pending=0), timeout=SECONDS)
        await eventually(lambda: is_over(admin, number), timeout=SECONDS)

    found = (await admin.call("GET", f"/campaigns/{number}/results"))["results"]
    ledger = (await admin.call("GET", f"/campaigns/{number}/ledger"))["ledger"]["hosts"]
    assert again is None, "who has answered is asked no more"
    assert sorted(row["host_id"] for row in found["rows"]) == sorted(ids.values())
    assert [(host["state"], host["row_count"]) for host in ledger] == [("answered", 1)] * 2
    assert (await campaign(admin, number))["end_reason"] == "complete"


async def is_over(admin: Person, campaign_id: int) -> bool:
    """Whether it has ended."""
    return (await campaign(admin, campaign_id))["ended_at"] is not None

"""One trace of a live query: from the request through gateway and host to the row in the viewer."""

from __future__ import annotations

import asyncio

from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from .machines import Machine, Machines
from .people import Person
from .traces import Collector, Span

WALL_TIME_MS = 1  # the host has had more: its request and ours in between
SERVICES = {"flotilla-admin-api", "flotilla-live-query", "flotilla-agent-gateway"}
PARENTS = {
    "find targets": "live_query.start_campaign.v1",
    "open ledger": "live_query.start_campaign.v1",
    "tell gateways": "live_query.start_campaign.v1",
    "offer query": "live_query.start_campaign.v1",
    "host answer": "live_query.start_campaign.v1",
    "settle answers": "live_query.start_campaign.v1",
    "show answers": "live_query.start_campaign.v1",
    "wait for poll": "host answer",
    "wait for host": "host answer",
    "execute query": "wait for host",
    "queue answer": "host answer",
}


async def asked(machine: Machine) -> dict[str, str]:
    queries: dict[str, str] = (await machine.post("/distributed/read", {"node_key": machine.node_key}))["queries"]
    return queries


async def test_one_trace_runs_from_the_request_to_the_row_in_the_viewer(
    admin: Person, machines: Machines, stack: RunningStack, collector: Collector
) -> None:
    _, secret = await admin.team("Traced", mode="merge", options={})
    gateway = stack.dev()["gateways"][0]["url"]  # always the same one: it knows when it made the offer
    async with machines.machine("traced-1", url=gateway) as machine:
        await machine.enroll(secret)
        [host_id] = [host["id"] for host in await admin.hosts() if host["hostname"] == machine.identifier]
        campaign_id = await admin.run("SELECT 1 AS one", hosts=[host_id])
        watching = asyncio.ensure_future(admin.watch(campaign_id))
        queries = await eventually(lambda: asked(machine), timeout=30)
        body = {
            "node_key": machine.node_key,
            "queries": {name: [{"one": "1"}] for name in queries},
            "statuses": dict.fromkeys(queries, 0),
            "stats": {name: {"wall_time_ms": WALL_TIME_MS, "user_time": 1} for name in queries},
        }
        assert await machine.post("/distributed/write", body) == {}
        await watching

    def all_came() -> dict[str, Span]:
        found = {span.name: span for span in collector.trace_of("host answer", campaign_id=campaign_id)}
        assert PARENTS.keys() - found.keys() == set()
        return found

    spans = await eventually(all_came, timeout=60)
    start = spans["live_query.start_campaign.v1"]

    assert {span.service for span in spans.values()} == SERVICES
    assert {name: spans[name].parent_id for name in PARENTS} == {
        name: spans[parent].span_id for name, parent in PARENTS.items()
    }
    assert any(name.startswith("POST") and span.service == "flotilla-admin-api" for name, span in spans.items())
    assert all(span.start <= span.end for span in spans.values())
    assert start.start // 1_000_000 <= spans["wait for poll"].start // 1_000_000
    assert spans["wait for poll"].end == spans["wait for host"].start
    assert spans["wait for host"].end - spans["wait for host"].start >= WALL_TIME_MS * 1_000_000
    assert spans["execute query"].end - spans["execute query"].start == WALL_TIME_MS * 1_000_000
    assert spans["settle answers"].start <= spans["show answers"].end
    assert spans["offer query"].attributes["host_id"] == spans["show answers"].attributes["host_id"] == host_id

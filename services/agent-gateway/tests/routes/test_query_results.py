"""POST distributed/write with results of detail, label and policy queries: into stream RESULTS where they are asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.contracts import details
from flotilla_common.contracts.plans import RenderPlanV1
from flotilla_common.contracts.results import STREAM, results_subject
from flotilla_common.contracts.shards import shard_of
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, BusFor, House

pytestmark = BOTH_ROADS

UBUNTU = RenderPlanV1(team_id=7, platform="ubuntu")
NAMES = {
    "detail": ("fleet_detail_query_os_version", "fleet_additional_query_mine"),
    "label": ("fleet_label_query_6",),
    "policy": ("fleet_policy_query_9", "fleet_no_policies_wildcard"),
}


async def ask_everything(house: House, bus_for: BusFor) -> str:
    """Let hosts of team 7 on Ubuntu be asked all kinds; return the key of one."""
    key = house.inventory.add_host(1, team_id=7)
    bucket = await open_bucket(await bus_for("inventory"), details.BUCKET)
    await bucket.put(details.details_key("ubuntu"), b"{}")
    await house.merger.save(UBUNTU, b"{}", label_queries_sha256="a" * 64, policy_queries_sha256="b" * 64)
    await house.read(key)
    host = house.gateway.hosts.find_even_stale(bytes.fromhex(next(iter(house.inventory.records))))
    assert host is not None
    sets = house.gateway.query_sets
    await eventually(lambda: sets.has("detail", host) and sets.has("policy", host))
    return key


async def batches(bus_for: BusFor) -> list[tuple[str, dict[str, Any]]]:
    """Return subject and body of all messages of the stream, read as inventory."""
    bus = await bus_for("inventory")
    state = (await bus.js.stream_info(STREAM)).state
    found = [await bus.js.get_msg(STREAM, number) for number in range(max(1, state.first_seq), state.last_seq + 1)]
    return [(message.subject or "", batch) for message in found for batch in json.loads(message.data or b"")]


async def test_results_are_in_the_stream_by_kind_before_the_host_hears_of_it(house: House, bus_for: BusFor) -> None:
    key = await ask_everything(house, bus_for)
    queries = {name: [{"a": "1"}] for names in NAMES.values() for name in names}

    reply = await house.post("distributed/write", {"node_key": key, "queries": queries})

    assert reply.json() == {}
    found = await batches(bus_for)
    assert {subject for subject, _ in found} == {results_subject(kind, shard_of(1)) for kind in NAMES}  # type: ignore[arg-type]
    for subject, batch in found:
        assert (batch["v"], batch["host_id"], batch["team_id"]) == (1, 1, 7)
        assert [result["name"] for result in batch["results"]] == list(NAMES[subject.split(".")[1]])
        assert all(result["rows"] == [{"a": "1"}] for result in batch["results"])
    assert house.gateway.counters.results == {"detail": 2, "label": 1, "policy": 2}


async def test_a_failure_is_passed_on_as_one(house: House, bus_for: BusFor) -> None:
    key = await ask_everything(house, bus_for)
    [label], [policy, _] = NAMES["label"], NAMES["policy"]
    body = {"queries": {label: "", policy: []}, "statuses": {label: "0", policy: "1"}, "messages": {policy: "no table"}}

    await house.post("distributed/write", body | {"node_key": key, "stats": {label: {"memory": 5}}})

    [(_, labels), (_, policies)] = sorted(await batches(bus_for))
    empty = {"rows": [], "truncated": False}
    assert labels["results"] == [{"name": label, "status": 0, "message": "", "stats": {"memory": 5}, **empty}]
    assert policies["results"] == [{"name": policy, "status": 1, "message": "no table", "stats": {}, **empty}]


async def test_what_nobody_asks_is_taken_counted_and_dropped(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    names = ("fleet_detail_query_os", "fleet_label_query_6", "fleet_policy_query_9", "mine")

    reply = await house.post("distributed/write", {"node_key": key, "queries": {name: [] for name in names}})

    assert reply.json() == {}
    assert house.gateway.counters.results_unasked == {"detail": 1, "label": 1, "policy": 1, "other": 1}
    assert await batches(bus_for) == []


async def test_a_set_that_is_gone_is_asked_no_more(house: House, bus_for: BusFor) -> None:
    key = await ask_everything(house, bus_for)
    bucket = await open_bucket(await bus_for("inventory"), details.BUCKET)
    await bucket.delete(details.details_key("ubuntu"))
    await house.merger.save(UBUNTU, b"{}")
    host = house.gateway.hosts.find_even_stale(bytes.fromhex(next(iter(house.inventory.records))))
    sets = house.gateway.query_sets
    await eventually(lambda: not any(sets.has(kind, host) for kind in ("detail", "label", "policy")))  # type: ignore[arg-type]

    await house.post("distributed/write", {"node_key": key, "queries": {NAMES["detail"][0]: []}})

    assert await batches(bus_for) == []


async def test_a_stranger_puts_nothing_into_the_stream(house: House, bus_for: BusFor) -> None:
    await ask_everything(house, bus_for)

    reply = await house.post("distributed/write", {"node_key": "nobody", "queries": {NAMES["detail"][0]: []}})

    assert reply.json() == {"error": "invalid_node_key", "node_invalid": True}
    assert await batches(bus_for) == []


async def test_without_custody_the_host_keeps_its_results(
    house: House, bus_for: BusFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await ask_everything(house, bus_for)

    async def refuse(*_: object) -> int:
        raise Unavailable("full")

    monkeypatch.setattr(house.gateway.query_results, "_publish", refuse)
    reply = await house.post("distributed/write", {"node_key": key, "queries": {NAMES["detail"][0]: []}})

    assert reply.json() == {"error": "unavailable"}
    assert house.gateway.counters.results == {}


async def test_a_host_with_more_software_than_a_message_carries_is_cut_and_says_so(
    house: House, bus_for: BusFor
) -> None:
    key = await ask_everything(house, bus_for)
    rows = [{"a": "x" * 100_000}] * 120

    await house.post("distributed/write", {"node_key": key, "queries": dict.fromkeys(NAMES["detail"], rows)})

    found = await batches(bus_for)
    assert [len(batch["results"]) for _, batch in found] == [1, 1]
    assert all(batch["results"][0]["truncated"] for _, batch in found)

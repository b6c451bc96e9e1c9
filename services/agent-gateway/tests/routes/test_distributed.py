"""POST distributed/read and distributed/write, with campaigns."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.contracts.campaigns import ANSWERS_STREAM
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, BusFor, House

pytestmark = BOTH_ROADS

TRACE_5 = f"{5:032x}"
NAME = f"fleet_distributed_query_5_1_{TRACE_5}"
OK = {"node_key": "", "queries": {NAME: [{"a": "1"}]}, "statuses": {NAME: 0}}


async def started(house: House, campaign_id: int, host_ids: list[int], **options: Any) -> None:
    await house.live_query.start(campaign_id, host_ids, **options)
    await eventually(lambda: campaign_id in house.gateway.campaigns.open_ids())


async def stored_answers(bus_for: BusFor) -> list[dict[str, Any]]:
    """Return the batches in the stream, read as live-query."""
    return [batch for message in await stored_messages(bus_for) for batch in message]


async def stored_messages(bus_for: BusFor) -> list[list[dict[str, Any]]]:
    bus = await bus_for("live_query")
    state = (await bus.js.stream_info(ANSWERS_STREAM)).state
    found = [await bus.js.get_msg(ANSWERS_STREAM, seq) for seq in range(max(1, state.first_seq), state.last_seq + 1)]
    return [json.loads(message.data or b"") for message in found]


async def test_an_idle_read_is_a_small_constant_without_backend(house: House) -> None:
    key = house.inventory.add_host()
    await house.read(key)
    before = dict(house.gateway.counters.backend_operations)

    assert [await house.read(key) for _ in range(20)] == [{"queries": {}}] * 20
    assert house.gateway.counters.backend_operations == before


async def test_a_targeted_host_gets_the_query_with_discovery_and_accelerate(house: House) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1, 2])

    assert await house.read(key) == {
        "queries": {NAME: "SELECT 5;"},
        "discovery": {NAME: "SELECT 1"},
        "accelerate": 10,
    }


async def test_a_query_is_not_offered_again_at_once_but_the_host_stays_fast(house: House) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])
    await house.read(key)

    assert await house.read(key) == {"queries": {}, "accelerate": 10}


@pytest.mark.parametrize(("interval", "accelerated"), [("2", False), ('"5"', False), ("10", True), ('"often"', True)])
async def test_a_host_that_polls_often_is_not_slowed_down(house: House, interval: str, accelerated: bool) -> None:
    house.merger.body = f'{{"options":{{"distributed_interval":{interval}}}}}'.encode()
    key = house.inventory.add_host(1)
    await house.post("config", {"node_key": key})
    await started(house, 5, [1])

    assert ("accelerate" in await house.read(key)) is accelerated


async def test_a_host_that_is_no_target_gets_nothing(house: House) -> None:
    key = house.inventory.add_host(3)
    await started(house, 5, [1, 2])

    assert await house.read(key) == {"queries": {}}


async def test_the_hosts_present_team_decides(house: House) -> None:
    inside, outside = house.inventory.add_host(1, team_id=7), house.inventory.add_host(2, team_id=8)
    await started(house, 5, [1, 2], allowed_teams=[7])

    assert NAME in (await house.read(inside))["queries"]  # type: ignore[operator]
    assert await house.read(outside) == {"queries": {}}


async def test_a_command_signed_by_another_key_is_refused(house: House) -> None:
    key = house.inventory.add_host(1)

    await house.live_query.start(5, [1], key=Ed25519PrivateKey.generate())
    await eventually(lambda: house.gateway.counters.commands_refused == 1)

    assert await house.read(key) == {"queries": {}}


async def test_a_signed_command_under_another_campaigns_key_is_refused(house: House) -> None:
    await house.live_query.start(5, [1], under=6)
    await eventually(lambda: house.gateway.counters.commands_refused == 1)

    assert house.gateway.campaigns.open_ids() == set()


async def test_garbage_in_the_bucket_stops_nothing(house: House) -> None:
    await house.live_query.bucket.put("x.command", b"garbage")
    await house.live_query.bucket.put("5.command", b"garbage")
    await house.live_query.bucket.put("5.done", b"garbage")
    await house.live_query.bucket.put("6.done", b"")
    await eventually(lambda: house.gateway.counters.commands_refused == 4)

    await started(house, 6, [1])

    assert house.gateway.campaigns.open_ids() == {6}


async def test_an_ended_campaign_is_not_offered(house: House) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])

    await house.live_query.end(5)
    await eventually(lambda: not house.gateway.campaigns.open_ids())

    assert await house.read(key) == {"queries": {}}


async def test_a_host_that_is_settled_elsewhere_is_not_asked(house: House) -> None:
    first, second = house.inventory.add_host(1), house.inventory.add_host(2)
    await started(house, 5, [1, 2])

    await house.live_query.settle(5, [1])
    await eventually(lambda: not house.gateway.campaigns.has_open(1))

    assert await house.read(first) == {"queries": {}}
    assert NAME in (await house.read(second))["queries"]  # type: ignore[operator]


async def test_an_answer_is_in_the_stream_before_the_host_hears_of_it(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1, team_id=7)
    await started(house, 5, [1])

    reply = await house.post("distributed/write", OK | {"node_key": key, "stats": {NAME: {"wall_time_ms": 7}}})

    assert reply.json() == {}
    [batch] = await stored_answers(bus_for)
    assert (batch["host_id"], batch["team_id"]) == (1, 7)
    [answer] = batch["answers"]
    assert answer == {
        "campaign_id": 5,
        "attempt": 1,
        "status": 0,
        "message": "",
        "rows": [{"a": "1"}],
        "stats": {"wall_time_ms": 7},
        "truncated": False,
        "offered_ms": 0,
    }


async def test_an_answer_says_when_the_host_was_given_the_query(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])
    before = int(house.gateway.now() * 1000)
    await house.read(key)
    after = int(house.gateway.now() * 1000)
    name = f"fleet_distributed_query_5_1_{TRACE_5}"

    await house.post("distributed/write", {"node_key": key, "queries": {name: []}, "statuses": {name: 0}})

    [batch] = await stored_answers(bus_for)
    assert before - 1 <= batch["answers"][0]["offered_ms"] <= after


async def test_answers_to_two_campaigns_in_one_write_go_on_each_in_its_own_trace(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])
    await started(house, 6, [1])
    names = ["fleet_distributed_query_5", "fleet_distributed_query_6"]

    await house.post("distributed/write", {"node_key": key, "queries": {name: [] for name in names}})

    found = {batch["answers"][0]["campaign_id"]: batch["trace_parent"] for batch in await stored_answers(bus_for)}
    assert {number: parent[-19:-3] for number, parent in found.items()} == {5: f"{5:016x}", 6: f"{6:016x}"}


async def test_answers_of_hosts_of_any_shard_share_messages(house: House, bus_for: BusFor, monkeypatch) -> None:
    hosts = range(1, 33)
    keys = [house.inventory.add_host(host) for host in hosts]
    await started(house, 5, list(hosts))
    for key in keys:
        await house.read(key)
    publish, may_go = house.gateway.answers._publish, asyncio.Event()

    async def publish_later(*message: Any) -> int:
        await may_go.wait()
        return await publish(*message)

    monkeypatch.setattr(house.gateway.answers, "_publish", publish_later)
    posting = asyncio.gather(*(house.post("distributed/write", OK | {"node_key": key}) for key in keys))
    taken = house.gateway.counters.answers
    await eventually(lambda: taken["open"] == len(keys))
    may_go.set()
    replies = await posting

    assert all(reply.json() == {} for reply in replies)
    found = await stored_messages(bus_for)
    assert len(found) < 16
    assert sorted(batch["host_id"] for message in found for batch in message) == list(hosts)


async def test_a_host_that_answered_is_not_asked_again(house: House) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])

    await house.post("distributed/write", OK | {"node_key": key})

    assert await house.read(key) == {"queries": {}}


async def test_the_bare_form_of_the_name_is_accepted(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])

    await house.post("distributed/write", {"node_key": key, "queries": {"fleet_distributed_query_5": ""}})

    [batch] = await stored_answers(bus_for)
    assert batch["answers"][0]["attempt"] == 0
    assert batch["answers"][0]["rows"] == []


async def test_a_failed_query_is_an_answer_too(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])

    body = {"node_key": key, "queries": {NAME: []}, "statuses": {NAME: "1"}, "messages": {NAME: "no such table: x"}}
    await house.post("distributed/write", body)

    [batch] = await stored_answers(bus_for)
    assert (batch["answers"][0]["status"], batch["answers"][0]["message"]) == (1, "no such table: x")


async def test_an_answer_goes_on_in_the_signed_trace_of_its_campaign(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])
    name = f"fleet_distributed_query_5_1_{'f' * 32}"  # what a host says of a trace is not believed
    await house.post("distributed/write", {"node_key": key, "queries": {name: []}, "statuses": {name: 0}})

    [batch] = await stored_answers(bus_for)
    assert batch["trace_parent"] == f"00-{TRACE_5}-{5:016x}-01"


async def test_an_answer_of_a_host_that_was_not_asked_is_counted_and_dropped(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(3)
    await started(house, 5, [1])

    reply = await house.post("distributed/write", OK | {"node_key": key})

    assert reply.json() == {}
    assert house.gateway.counters.answers == {"foreign": 1}
    assert await stored_answers(bus_for) == []


@pytest.mark.parametrize(
    "name", ["fleet_distributed_query_99", "fleet_distributed_query_", "fleet_distributed_query_x"]
)
async def test_an_answer_to_no_campaign_is_counted_and_dropped(house: House, bus_for: BusFor, name: str) -> None:
    key = house.inventory.add_host(1)

    reply = await house.post("distributed/write", {"node_key": key, "queries": {name: []}})

    assert reply.json() == {}
    assert house.gateway.counters.answers == {"unknown": 1}
    assert await stored_answers(bus_for) == []


async def test_an_answer_that_comes_after_the_end_still_counts(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])
    await house.live_query.end(5)
    await eventually(lambda: not house.gateway.campaigns.open_ids())

    await house.post("distributed/write", OK | {"node_key": key})

    assert len(await stored_answers(bus_for)) == 1
    assert house.gateway.counters.answers == {"ended": 1}


@pytest.mark.parametrize("body", [{}, {"queries": None}, {"queries": {}, "statuses": None, "messages": [], "stats": 5}])
async def test_missing_and_null_maps_are_legal(house: House, body: dict[str, Any]) -> None:
    key = house.inventory.add_host(1)

    assert (await house.post("distributed/write", body | {"node_key": key})).json() == {}


async def test_queries_of_a_wrong_shape_are_refused(house: House) -> None:
    key = house.inventory.add_host(1)

    reply = await house.post("distributed/write", {"node_key": key, "queries": []})

    assert reply.status_code == 400
    assert reply.json()["error"] == "malformed_body"


async def test_an_answer_larger_than_a_message_is_cut_and_says_so(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await started(house, 5, [1])

    rows = [{"a": "x" * 100_000}] * 120
    await house.post("distributed/write", {"node_key": key, "queries": {NAME: rows}})

    [batch] = await stored_answers(bus_for)
    assert batch["answers"][0]["truncated"] is True
    assert 60 < len(batch["answers"][0]["rows"]) < 120


async def test_many_large_answers_become_several_messages(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    for campaign_id in (5, 6, 7):
        await started(house, campaign_id, [1])

    rows = [{"a": "x" * 100_000}] * 50
    queries = {f"fleet_distributed_query_{campaign_id}": rows for campaign_id in (5, 6, 7)}
    await house.post("distributed/write", {"node_key": key, "queries": queries})

    batches = await stored_answers(bus_for)
    assert len(batches) == 3
    assert sorted(answer["campaign_id"] for batch in batches for answer in batch["answers"]) == [5, 6, 7]

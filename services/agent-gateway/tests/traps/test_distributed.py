"""Traps 41 to 53: what is handed out is what every client runs, and every shape of results is understood."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from flotilla_common.contracts.campaigns import ANSWERS_STREAM, OFFER_AGAIN_SECONDS
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, BusFor, House

pytestmark = BOTH_ROADS

NAME = "fleet_distributed_query_5_1"


async def asked(house: House, *campaign_ids: int) -> str:
    """Return the key of a host that campaigns target."""
    key = house.inventory.add_host(1)
    for campaign_id in campaign_ids:
        await house.live_query.start(campaign_id, [1])
    await eventually(lambda: house.gateway.campaigns.open_ids() >= set(campaign_ids))
    return key


async def stored(bus_for: BusFor) -> list[dict[str, Any]]:
    bus = await bus_for("live_query")
    state = (await bus.js.stream_info(ANSWERS_STREAM)).state
    numbers = range(max(1, state.first_seq), state.last_seq + 1)
    found = [await bus.js.get_msg(ANSWERS_STREAM, number) for number in numbers]
    batches = [batch for message in found for batch in json.loads(message.data or b"")]
    return [answer for batch in batches for answer in batch["answers"]]


async def test_no_query_is_empty_and_each_has_its_discovery(house: House) -> None:
    key = await asked(house, 5, 6, 7)

    reply = await house.read(key)

    queries: dict[str, str] = reply["queries"]  # type: ignore[assignment]
    assert len(queries) == 3
    assert all(name and sql.strip() for name, sql in queries.items())
    assert reply["discovery"] == dict.fromkeys(queries, "SELECT 1")


async def test_accelerate_is_an_integer(house: House) -> None:
    key = await asked(house, 5)

    reply = await house.post("distributed/read", {"node_key": key})

    assert b'"accelerate":10}' in reply.content


async def test_a_query_is_offered_again_until_it_is_answered(house: House) -> None:
    key = await asked(house, 5)
    began = time.time()
    first = await house.read(key)
    house.gateway.now = lambda: began + OFFER_AGAIN_SECONDS + 5

    again = await house.read(key)
    [name] = again["queries"]  # type: ignore[misc]
    await house.post("distributed/write", {"node_key": key, "queries": {name: []}})

    assert len(first["queries"]) == len(again["queries"]) == 1  # type: ignore[arg-type]
    assert await house.read(key) == {"queries": {}}


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({}, 0),
        ({"statuses": {}}, 0),
        ({"statuses": None, "messages": None, "stats": None}, 0),
        ({"statuses": {NAME: 0}, "messages": {}, "stats": {NAME: {}}}, 0),
        ({"statuses": {NAME: "0"}, "messages": {NAME: ""}}, 0),
        ({"statuses": {NAME: "1"}}, 1),
        ({"statuses": {NAME: 1}, "messages": {NAME: None}, "stats": {NAME: None}}, 1),
        ({"statuses": {NAME: -1}, "messages": [], "stats": "x"}, -1),
        ({"statuses": {NAME: []}, "messages": {NAME: [1]}, "stats": {NAME: {"memory": "x"}}}, 1),
    ],
)
@pytest.mark.parametrize("rows", ["", None, []])
async def test_statuses_messages_and_stats_of_every_age(
    house: House, bus_for: BusFor, members: dict[str, Any], status: int, rows: Any
) -> None:
    key = await asked(house, 5)

    reply = await house.post("distributed/write", {"queries": {NAME: rows}, **members, "node_key": key})

    assert reply.json() == {}
    [answer] = await stored(bus_for)
    assert (answer["status"], answer["rows"], answer["stats"], answer["message"]) == (status, [], {}, "")


async def test_a_name_in_statuses_alone_is_no_answer(house: House, bus_for: BusFor) -> None:
    key = await asked(house, 5)

    await house.post("distributed/write", {"queries": {}, "statuses": {NAME: 0}, "node_key": key})

    assert await stored(bus_for) == []
    assert house.gateway.campaigns.has_open(1)


async def test_a_denylisted_query_is_an_answer_with_its_message(house: House, bus_for: BusFor) -> None:
    key = await asked(house, 5)
    text = "distributed query is denylisted"
    body = {"queries": {NAME: []}, "statuses": {NAME: 1}, "messages": {NAME: text}, "stats": {NAME: {}}}

    await house.post("distributed/write", body | {"node_key": key})

    [answer] = await stored(bus_for)
    assert (answer["status"], answer["message"]) == (1, text)
    assert not house.gateway.campaigns.has_open(1)


async def test_one_read_may_be_answered_by_several_writes_and_several_by_one(house: House, bus_for: BusFor) -> None:
    key = await asked(house, 5, 6, 7)
    await house.read(key)

    await house.post("distributed/write", {"node_key": key, "queries": {"fleet_distributed_query_6_1": []}})
    assert [answer["campaign_id"] for answer in await stored(bus_for)] == [6]
    rest = {"fleet_distributed_query_5_1": [], "fleet_distributed_query_7_1": []}
    await house.post("distributed/write", {"node_key": key, "queries": rest})

    assert sorted(answer["campaign_id"] for answer in await stored(bus_for)) == [5, 6, 7]
    assert await house.read(key) == {"queries": {}}


async def test_numbers_in_rows_become_the_text_that_osquery_writes(house: House, bus_for: BusFor) -> None:
    key = await asked(house, 5)
    rows = [{"a": 1, "b": 1.5, "c": None, "d": True}, 5, None, {"e": "x"}]

    await house.post("distributed/write", {"node_key": key, "queries": {NAME: rows}})

    [answer] = await stored(bus_for)
    assert answer["rows"] == [{"a": "1", "b": "1.5", "c": "", "d": "1"}, {"e": "x"}]

"""Traps 33 to 40: lines of all ages and shapes are kept as they came, and none of them fails its batch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flotilla_common.contracts.logs import STREAM

from ..conftest import BOTH_ROADS, BusFor, House

pytestmark = BOTH_ROADS

COMMON = {"name": "pack/Global/users", "hostIdentifier": "A-1", "calendarTime": "Fri Jul  4 09:12:31 2025 UTC"}
NEW = COMMON | {"unixTime": 1751620351, "epoch": 0, "counter": 3, "numerics": False, "decorations": {"a": "b"}}
OLD = COMMON | {"unixTime": "1751620351", "epoch": "0", "counter": "3"}
ROW = {"uid": "1004", "username": "dana"}
LINES: dict[str, dict[str, Any]] = {
    "event": NEW | {"columns": ROW, "action": "added"},
    "event of an old client": OLD | {"columns": ROW, "action": "removed"},
    "event of a very old client": {"name": "users", "unixTime": "1751620351", "columns": ROW, "action": "added"},
    "batch": NEW | {"diffResults": {"added": [ROW], "removed": []}},
    "batch of an old client": OLD | {"diffResults": {"added": "", "removed": [ROW]}},
    "snapshot": NEW | {"snapshot": [ROW], "action": "snapshot"},
    "empty snapshot": NEW | {"snapshot": [], "action": "snapshot"},
    "snapshot as events": NEW | {"columns": ROW, "action": "snapshot"},
    "decorations at the top": NEW | {"host_uuid": "A-1", "columns": ROW, "action": "added"},
    "numerics": NEW | {"numerics": True, "columns": {"uid": 1004, "load": 0.1, "big": 2**63}, "action": "added"},
    "unknown name": NEW | {"name": "of a local config", "columns": ROW, "action": "added"},
    "no name": {"columns": ROW},
    "odd types": {"name": 5, "unixTime": [], "epoch": None, "counter": {}, "columns": "x"},
    "empty": {},
}
STATUS: dict[str, dict[str, Any]] = {
    "status": {"severity": 1, "filename": "scheduler.cpp", "line": 112, "message": "x", "version": "5.17.0"},
    "status of an old client": {"severity": "1", "filename": "scheduler.cpp", "line": "112", "message": "x"},
    "status of odd types": {"severity": None, "line": [1], "message": {"a": 1}},
}


async def stored(bus_for: BusFor) -> list[Any]:
    bus = await bus_for("log_shipper")
    state = (await bus.js.stream_info(STREAM)).state
    found = [await bus.js.get_msg(STREAM, number) for number in range(max(1, state.first_seq), state.last_seq + 1)]
    return [json.loads(line) for message in found for line in (message.data or b"").splitlines()[1:]]


async def test_result_lines_of_every_age_are_kept_in_their_order(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)

    reply = await house.post("log", {"data": list(LINES.values()), "log_type": "result", "node_key": key})

    assert reply.json() == {}
    assert await stored(bus_for) == list(LINES.values())


async def test_status_lines_of_every_age_are_kept_in_their_order(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)

    reply = await house.post("log", {"data": list(STATUS.values()), "log_type": "status", "node_key": key})

    assert reply.json() == {}
    assert await stored(bus_for) == list(STATUS.values())


async def test_digits_are_kept_as_the_host_wrote_them(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    line = b'{"name":"x","numerics":true,"columns":{"a":0.10,"b":1E5,"c":18446744073709551615,"d":-0,"e":1e400}}'

    await house.post("log", b'{"data":[%s],"log_type":"result","node_key":"%s"}' % (line, key.encode()))

    message = await (await bus_for("log_shipper")).js.get_msg(STREAM, 1)
    assert (message.data or b"").splitlines()[1] == line


@pytest.mark.parametrize("bad", [None, 5, "text", [], True, 1.5])
async def test_a_line_of_a_wrong_shape_is_skipped_and_its_neighbours_are_kept(
    house: House, bus_for: BusFor, bad: Any
) -> None:
    key = house.inventory.add_host(1)
    lines = [LINES["event"], bad, LINES["snapshot"]]

    reply = await house.post("log", {"data": lines, "log_type": "result", "node_key": key})

    assert reply.json() == {}
    assert await stored(bus_for) == [LINES["event"], LINES["snapshot"]]
    assert house.gateway.counters.lines_skipped == {"not_an_object": 1}


@pytest.mark.parametrize("data", [[], None])
async def test_a_batch_without_lines_is_legal(house: House, bus_for: BusFor, data: Any) -> None:
    key = house.inventory.add_host(1)

    for body in ({"data": data, "log_type": "result"}, {"log_type": "status"}):
        assert (await house.post("log", body | {"node_key": key})).json() == {}
    assert await stored(bus_for) == []

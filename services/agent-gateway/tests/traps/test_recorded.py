"""What a real osqueryd sent, said again: all formats of logs, an enroll with its NULs, results of distributed queries.

`recorded.json` is a part of traffic recorded from osquery 5.23.0-38-ga5b14f63d on Linux (release build, TLS plugins,
default flags but for those that a scenario's name says). Host names, UUIDs, keys and secrets were replaced.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from flotilla_common.contracts.campaigns import ANSWERS_STREAM
from flotilla_common.contracts.logs import STREAM
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, BusFor, House
from ..stand_ins import SECRET

pytestmark = BOTH_ROADS

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "recorded.json").read_text())
NODE_KEY = "NODEKEY0000000000000000000000001"


def of(path: str, scenario: str = "") -> list[dict[str, Any]]:
    return [one for one in RECORDED if one["path"] == path and one["scenario"].startswith(scenario)]


async def say(house: House, one: dict[str, Any], key: str) -> dict[str, Any]:
    """Send a recorded request with the key of a host of ours; return the answer."""
    body = one["body_text"].replace(NODE_KEY, key).replace("enroll-secret-0001", SECRET).encode()
    if one["headers"].get("Content-Encoding") == "gzip":
        body = gzip.compress(body, 9)
    reply: dict[str, Any] = (await house.post(one["path"], body, headers=one["headers"])).json()
    return reply


async def stored(bus_for: BusFor) -> list[bytes]:
    """Return the lines in stream LOGS."""
    bus = await bus_for("log_shipper")
    state = (await bus.js.stream_info(STREAM)).state
    found = [await bus.js.get_msg(STREAM, number) for number in range(max(1, state.first_seq), state.last_seq + 1)]
    return [line for message in found for line in (message.data or b"").splitlines()[1:]]


@pytest.mark.parametrize("scenario", sorted({one["scenario"] for one in of("log")}))
async def test_every_format_of_log_lines_is_kept_byte_for_byte(house: House, bus_for: BusFor, scenario: str) -> None:
    key = house.inventory.add_host(1)
    said = of("log", scenario)

    assert [await say(house, one, key) for one in said] == [{}] * len(said)
    kept = await stored(bus_for)
    assert [json.loads(line) for line in kept] == [
        line for one in said for line in json.loads(one["body_text"])["data"]
    ]
    assert all(line.decode() in "".join(one["body_text"] for one in said) for line in kept)
    assert house.gateway.counters.lines_skipped == {}


async def test_a_real_enroll_succeeds_without_its_nuls(house: House) -> None:
    one = of("enroll")[0]

    reply = await say(house, one, "")

    assert list(reply) == ["node_key"]
    [request] = house.inventory.enrolls
    assert "\0" in json.loads(one["body_text"])["host_details"]["system_info"]["cpu_brand"]
    assert request.host_details["system_info"]["cpu_brand"] == "Example CPU model E0"
    assert "\0" not in request.model_dump_json()
    assert "platform_info" not in request.host_details


async def test_a_real_answer_to_a_campaign_arrives_with_its_rows_and_stats(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    await house.live_query.start(401, [1])
    await eventually(lambda: house.gateway.campaigns.has_open(1))

    replies = [await say(house, one, key) for one in of("distributed/write")]

    assert replies == [{}] * len(replies)
    message = await (await bus_for("live_query")).js.get_msg(ANSWERS_STREAM, 1)
    [batch] = json.loads(message.data or b"")
    [answer] = batch["answers"]
    assert answer["rows"] == [{"version": "5.23.0-38-ga5b14f63d", "build_platform": "linux"}]
    assert answer["stats"] == {"wall_time_ms": 0, "user_time": 0, "system_time": 0, "memory": 528384}
    assert (answer["status"], answer["message"]) == (0, "")

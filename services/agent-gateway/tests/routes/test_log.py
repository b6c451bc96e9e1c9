"""POST log: `{}` means custody."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from agent_gateway.domain import bodies
from agent_gateway.domain.lines import LINE_LIMIT
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.logs import STREAM
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, BusFor, House, LimitStream

pytestmark = BOTH_ROADS

MIB = 1024 * 1024
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LINE = {"name": "pack/Global/x", "columns": {"a": "1"}, "action": "added"}


async def messages(bus_for: BusFor) -> list[Any]:
    """Return the messages of the stream, read as log-shipper."""
    bus = await bus_for("log_shipper")
    state = (await bus.js.stream_info(STREAM)).state
    return [await bus.js.get_msg(STREAM, seq) for seq in range(max(1, state.first_seq), state.last_seq + 1)]


def lines_of(found: list[Any]) -> Iterator[Any]:
    """Yield all lines, by the manifest of each message."""
    for message in found:
        head, _, rest = message.data.partition(b"\n")
        manifest = json.loads(head)
        lines = rest.splitlines()
        assert int(message.headers["Lines"]) == len(lines) == sum(segment[3] for segment in manifest["segments"])
        assert len(rest) == sum(segment[4] for segment in manifest["segments"])
        yield from map(json.loads, lines)


def body_of(key: str, *lines: object, log_type: str = "result") -> dict[str, Any]:
    return {"data": list(lines), "log_type": log_type, "node_key": key}


@pytest.mark.parametrize("log_type", ["result", "status"])
async def test_lines_are_in_the_stream_when_the_host_hears_so(house: House, bus_for: BusFor, log_type: str) -> None:
    key = house.inventory.add_host(1, team_id=7)

    reply = await house.post("log", body_of(key, LINE, {"n": 2}, log_type=log_type))

    assert reply.json() == {}
    [message] = await messages(bus_for)
    manifest = json.loads(message.data.partition(b"\n")[0])
    assert manifest["type"] == log_type
    assert manifest["segments"][0][:2] == [1, 7]
    assert list(lines_of([message])) == [LINE, {"n": 2}]


async def test_an_empty_batch_is_legal_and_stores_nothing(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()

    assert (await house.post("log", body_of(key))).json() == {}
    assert await messages(bus_for) == []


async def test_what_is_no_object_is_skipped_and_counted(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()

    reply = await house.post("log", body_of(key, LINE, "text", 5, None, [1], LINE))

    assert reply.json() == {}
    assert list(lines_of(await messages(bus_for))) == [LINE, LINE]
    assert house.gateway.counters.lines_skipped == {"not_an_object": 4}


async def test_a_line_with_newlines_becomes_one_line_with_every_digit(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()
    body = b'{"data":[{"big":\n 12345678901234567890.10,\r\n"t":"a\\nb"}],"log_type":"result","node_key":"%s"}'

    await house.post("log", body % key.encode())

    [message] = await messages(bus_for)
    assert message.data.split(b"\n")[1] == b'{"big":12345678901234567890.10,"t":"a\\nb"}'


@pytest.mark.parametrize("odd", [b"\xff\xfe", b"\\ud800", b"\x01", b"\n"])
async def test_bytes_that_are_no_text_do_not_block_a_hosts_logs(house: House, bus_for: BusFor, odd: bytes) -> None:
    key = house.inventory.add_host()
    body = b'{"data":[{"path":"a%sb"},{"n":2}],"log_type":"result","node_key":"%s"}' % (odd, key.encode())

    reply = await house.post("log", body)

    assert reply.json() == {}
    [first, second] = lines_of(await messages(bus_for))
    assert first["path"].startswith("a")
    assert first["path"].endswith("b")
    assert second == {"n": 2}


async def test_a_log_type_may_be_written_otherwise(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()

    reply = await house.post("log", b'{"data":[{"n":1}],"log_type":"\\u0072esult","node_key":"%s"}' % key.encode())

    assert reply.json() == {}
    assert [message.subject.split(".")[1] for message in await messages(bus_for)] == ["result"]


async def test_an_unknown_log_type_is_refused(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()

    reply = await house.post("log", body_of(key, LINE, log_type="audit"))

    assert reply.status_code == 400
    assert reply.json() == {"error": "unknown_log_type", "reason": "audit"}
    assert await messages(bus_for) == []


@pytest.mark.parametrize("data", ["text", {}, 5])
async def test_data_of_a_wrong_type_is_refused(house: House, data: Any) -> None:
    key = house.inventory.add_host()

    reply = await house.post("log", {"data": data, "log_type": "result", "node_key": key})

    assert reply.status_code == 400
    assert reply.json()["error"] == "malformed_body"


async def test_gzip_is_understood(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()
    body = gzip.compress(json.dumps(body_of(key, LINE)).encode(), 9)

    reply = await house.post("log", body, headers={"Content-Encoding": "gzip"})

    assert reply.json() == {}
    assert list(lines_of(await messages(bus_for))) == [LINE]


async def test_a_gzip_bomb_is_refused_at_the_cap(house: House) -> None:
    bomb = gzip.compress(b"[" * (bodies.LOG_LIMIT + 1), 1)

    reply = await house.post("log", bomb, headers={"Content-Encoding": "gzip"})

    assert reply.status_code == 413
    assert reply.json()["error"] == "body_too_large"
    assert house.gateway.memory.used == 0


@pytest.mark.parametrize(
    "body", [b"no gzip at all", gzip.compress(b"{}", mtime=0)[:-4], b""], ids=["no gzip", "cut short", "empty"]
)
async def test_broken_gzip_is_refused(house: House, body: bytes) -> None:
    reply = await house.post("log", body, headers={"Content-Encoding": "gzip"})

    assert reply.status_code == 400
    assert reply.json()["error"] == "malformed_body"


async def test_posts_of_all_hosts_share_a_message(house: House, bus_for: BusFor) -> None:
    keys = [house.inventory.add_host(host_id) for host_id in range(1, 21)]
    await asyncio.gather(*map(house.read, keys))

    replies = await asyncio.gather(*(house.post("log", body_of(key, {"n": n})) for n, key in enumerate(keys)))

    assert all(reply.json() == {} for reply in replies)
    found = await messages(bus_for)
    assert len(found) < 10  # of sixteen shards' hosts
    assert len({message.subject for message in found}) == 1
    assert sorted(line["n"] for line in lines_of(found)) == list(range(20))


async def test_a_post_larger_than_a_message_becomes_several(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()
    lines = [{"n": number, "text": "x" * 500_000} for number in range(40)]

    reply = await house.post("log", body_of(key, *lines))

    assert reply.json() == {}
    found = await messages(bus_for)
    assert len(found) > 2
    assert [line["n"] for line in lines_of(found)] == list(range(40))


async def test_the_longest_line_that_a_message_can_carry_is_stored(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()
    longest = b'{"text":"%s"}' % (b"x" * (LINE_LIMIT - 11))
    body = b'{"data":[{"n":1},%s,%s ,{"n":2}],"log_type":"result","node_key":"%s"}'

    reply = await house.post("log", body % (longest, longest[:-2] + b'x"}', key.encode()))

    assert reply.json() == {}
    assert [len(json.dumps(line)) > MIB for line in lines_of(await messages(bus_for))] == [False, True, False]
    assert house.gateway.counters.lines_skipped == {"too_long": 1}


async def test_a_line_that_no_message_can_carry_does_not_block_the_others(house: House, bus_for: BusFor) -> None:
    key = house.inventory.add_host()

    reply = await house.post("log", body_of(key, {"text": "x" * 9_000_000}, LINE))

    assert reply.json() == {}
    assert list(lines_of(await messages(bus_for))) == [LINE]
    assert house.gateway.counters.lines_skipped == {"too_long": 1}


async def test_a_process_that_holds_too_much_refuses_and_recovers(house: House) -> None:
    key = house.inventory.add_host()
    house.gateway.memory.limit = bodies.LOG_LIMIT + 10_000  # logs leave so much to others

    refused = await house.post("log", body_of(key, {"text": "x" * 20_000}))
    accepted = await house.post("log", body_of(key, LINE))

    assert (refused.status_code, refused.json()) == (503, {"error": "unavailable"})
    assert accepted.json() == {}


async def test_a_full_stream_is_an_error_and_the_host_keeps_its_lines(house: House, limit_stream: LimitStream) -> None:
    key = house.inventory.add_host()

    await limit_stream(1024)
    reply = await house.post("log", body_of(key, {"text": "x" * 2000}))

    assert (reply.status_code, reply.json()) == (503, {"error": "unavailable"})
    assert house.gateway.counters.lines == {}


async def test_status_and_result_lines_are_counted_apart(house: House) -> None:
    key = house.inventory.add_host()

    await house.post("log", body_of(key, LINE, LINE))
    await house.post("log", body_of(key, LINE, log_type="status"))
    await eventually(lambda: house.gateway.counters.lines)

    assert house.gateway.counters.lines == {"result": 2, "status": 1}


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("levels", [1_500, 100_000])
async def test_a_line_nested_too_deeply_is_left_out_alone(house: House, opening: bytes, levels: int) -> None:
    key = house.inventory.add_host(1)
    closing = b"]" if opening == b"[" else b"}"
    deep = b'{"deep":' + opening * levels + b'"]}"' + closing * levels + b"}"
    lines = [b'{"n":1}', deep, b"null", b'{"n":[2,{"x":"[["}]}', deep]
    body = b'{"log_type":"result","data":[%s],"node_key":"%s"}' % (b",".join(lines), key.encode())

    assert (await house.post("log", body)).json() == {}
    assert house.gateway.counters.lines["result"] == 2
    assert house.gateway.counters.lines_skipped == {"too_deep": 2, "not_an_object": 1}


async def test_what_is_nested_too_deeply_beside_the_lines_fails_no_batch(house: House) -> None:
    key = house.inventory.add_host(1)
    deep = b"[" * 1_500 + b"]" * 1_500
    body = b'{"log_type":"result","x":[%s],"data":[{"n":\n1}],"node_key":"%s"}' % (deep, key.encode())

    assert (await house.post("log", body)).json() == {}
    assert house.gateway.counters.lines["result"] == 1
    assert house.gateway.counters.lines_skipped == {}


async def test_a_host_has_logged_when_its_lines_are_in_custody_and_not_before(
    house: House, limit_stream: LimitStream
) -> None:
    kept, refused, idle = (house.inventory.add_host(number) for number in (1, 2, 3))

    await house.post("log", body_of(kept, LINE))
    await house.post("log", body_of(idle))
    await limit_stream(1024)
    await house.post("log", body_of(refused, {"text": "x" * 2000}))
    report = house.gateway.seen.take(NOON)

    assert report is not None
    assert set(bitmap_of(base64.b64decode(report.bitmap))) == {1, 2, 3}
    assert set(bitmap_of(base64.b64decode(report.logged))) == {1}

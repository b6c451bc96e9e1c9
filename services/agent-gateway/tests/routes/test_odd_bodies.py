"""What is no JSON in UTF-8 is mended for known hosts at no cost to others, and for strangers next to never."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from agent_gateway.domain import gateway as gateways
from agent_gateway.domain import json_bodies
from agent_gateway.domain.buckets import Buckets
from agent_gateway.domain.large_bodies import LargeBodies
from flotilla_common.contracts.logs import STREAM
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, BusFor, House

pytestmark = BOTH_ROADS

MIB = 1024 * 1024
INVALID_KEY = {"error": "invalid_node_key", "node_invalid": True}


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads in which bodies were mended."""
    threads: list[str] = []
    own: Callable[..., Any] = json_bodies._parse_leniently

    def mend(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
        threads.append(threading.current_thread().name)
        return own(decoder, body)

    monkeypatch.setattr(json_bodies, "_parse_leniently", mend)
    return threads


def odd(key: str, *, size: int = 0, path: str = "log") -> bytes:
    """Return a post with a raw newline in a string."""
    text = b"a\n" + b"x" * size
    if path == "log":
        return b'{"data":[{"text":"%s"}],"log_type":"result","node_key":"%s"}' % (text, key.encode())
    return b'{"queries":{"a":[{"text":"%s"}]},"node_key":"%s"}' % (text, key.encode())


@pytest.mark.parametrize("path", ["log", "distributed/write"])
@pytest.mark.parametrize("size", [0, MIB])
async def test_a_strangers_odd_post_is_not_mended(house: House, mended: list[str], path: str, size: int) -> None:
    reply = await house.post(path, odd("nobody", size=size, path=path))

    assert reply.json() == INVALID_KEY
    assert mended == []


async def test_nor_is_one_without_a_key_or_whose_key_is_hidden(house: House, mended: list[str]) -> None:
    key = house.inventory.add_host()
    lines = b",".join([b'{"n":"%s"}' % (b"x" * 500)] * 10)

    for body in (b'{"data":["\n"],"log_type":"result"}', odd(key).replace(b"}]", b"}," + lines + b"]") + b" " * 2000):
        reply = await house.post("log", body)
        assert "error" in reply.json()
    assert mended == []


@pytest.mark.parametrize("path", ["log", "distributed/write"])
async def test_a_hosts_odd_post_is_mended_beside_the_event_loop(house: House, mended: list[str], path: str) -> None:
    key = house.inventory.add_host()

    reply = await house.post(path, odd(key, path=path))

    assert reply.json() == {}
    assert mended == ["large bodies"]


@pytest.mark.parametrize(("is_odd", "last"), [(True, "too_many_requests"), (False, None)])
async def test_odd_posts_of_a_host_weigh_as_what_takes_long(house: House, is_odd: bool, last: str | None) -> None:
    key = house.inventory.add_host()
    await house.read(key)
    house.gateway.admission._hosts["log"] = Buckets(1.0, 4.0 * MIB, clock=lambda: 0.0)
    body = odd(key, size=MIB // 4)

    replies = [(await house.post("log", body if is_odd else body.replace(b"\n", b" "))).json() for _ in range(6)]

    assert (replies[0], replies[-1].get("error")) == ({}, last)


async def test_lines_that_grow_when_they_are_mended_become_messages_that_fit(house: House, bus_for: BusFor) -> None:
    """Each byte that is no UTF-8 becomes three: no message of the stream has 12 MB."""
    key = house.inventory.add_host()
    line = b'{"a":"%s"}' % (b"\xff" * 1000)
    body = b'{"data":[%s],"log_type":"result","node_key":"%s"}' % (b",".join([line] * 4000), key.encode())

    replies = [(await house.post("log", body)).json() for _ in range(3)]

    assert replies == [{}] * 3
    assert not house.gateway.admission.logs.is_shut
    bus = await bus_for("log_shipper")
    state = (await bus.js.stream_info(STREAM)).state
    assert state.messages >= 6


@pytest.mark.parametrize("path", ["config", "distributed/read", "enroll"])
async def test_what_cannot_be_told_from_a_strangers_is_mended_in_their_thread(
    house: House, mended: list[str], path: str
) -> None:
    reply = await house.post(path, b'{"node_key":"nobody","enroll_secret":"no","host_identifier":"a\nb"}')

    assert reply.json()["node_invalid"] is True
    assert len(mended) == 1
    assert mended[0] != threading.current_thread().name


async def test_a_large_odd_enroll_is_malformed(house: House, mended: list[str]) -> None:
    body = b'{"enroll_secret":"no","host_identifier":"a\n%s"}' % (b"x" * gateways.MENDED_FOR_STRANGERS)

    reply = await house.post("enroll", body)

    assert reply.json()["error"] == "malformed_body"
    assert mended == []


async def test_who_failed_too_often_has_nothing_mended_and_malformed_bodies_count(
    house: House, mended: list[str]
) -> None:
    failures = house.gateway.admission.failures = Buckets(1.0, 3.0, clock=lambda: 0.0)
    for _ in range(8):
        assert (await house.post("enroll", b'{"enroll_secret":"\n')).json()["error"] == "malformed_body"
    seen = len(mended)

    reply = await house.post("enroll", b'{"enroll_secret":"no","host_identifier":"a\nb"}')

    assert failures.any_spent()
    assert 2 < seen < 8
    assert len(mended) == seen
    assert reply.json()["error"] == "malformed_body"


async def test_so_many_odd_bodies_of_strangers_wait_and_no_more(house: House) -> None:
    house.gateway.strangers = LargeBodies(1)
    go_on, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(30)

    task = asyncio.create_task(house.gateway.strangers.run_beside(work))
    await eventually(begun.is_set)
    try:
        reply = await house.post("enroll", b'{"enroll_secret":"no","host_identifier":"a\nb"}')
        assert reply.json()["error"] == "unavailable"
    finally:
        go_on.set()
        await task
    again = await house.post("enroll", b'{"enroll_secret":"no","host_identifier":"a\nb"}')
    assert again.json()["node_invalid"] is True


ALL_PATHS = ["enroll", "config", "distributed/read", "distributed/write", "log", "carve/begin", "carve/block"]


@pytest.mark.parametrize("path", [path for path in ALL_PATHS if path != "log"])
@pytest.mark.parametrize("levels", [12_000, 200_000])
async def test_a_valid_body_that_is_nested_too_deeply_is_called_so_on_every_path(
    house: House, path: str, levels: int
) -> None:
    header = {"authorization": f"NodeKey {house.inventory.add_host()}"}
    reply = await house.post(path, b'{"deep":%s%s}' % (b"[" * levels, b"]" * levels), headers=header)

    is_read = levels < 64 * 1024 or path not in {"config", "distributed/read", "carve/begin"}  # whose caps are lower
    wanted = {"error": "malformed_body", "reason": "nested too deeply"} if is_read else {"error": "body_too_large"}
    assert {name: reply.json().get(name) for name in wanted} == wanted


@pytest.mark.parametrize("path", ALL_PATHS)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty: it must be a JSON object, at least {}"),
        (b'{"a":', "not valid JSON"),
        (b"x", "not valid JSON"),
    ],
)
async def test_what_is_wrong_with_a_body_is_said_in_the_same_words_everywhere(
    house: House, path: str, body: bytes, reason: str
) -> None:
    header = {"authorization": f"NodeKey {house.inventory.add_host()}"}
    reply = await house.post(path, body, headers=header)

    assert (reply.status_code, reply.json()) == (400, {"error": "malformed_body", "reason": reason})

"""Traps 1 to 16, 81 to 85: what osqueryd makes of an answer, and what it sends twice."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, House
from ..stand_ins import SECRET

pytestmark = BOTH_ROADS

KEYED = ("config", "distributed/read", "distributed/write", "log")
PATHS = ("enroll", *KEYED)
PREFIXES = ("/api/osquery", "/api/v1/osquery")


def usual(path: str, key: str) -> dict[str, Any]:
    """Return what a host posts."""
    return {
        "enroll": {"enroll_secret": SECRET, "host_identifier": "A-1"},
        "config": {"node_key": key},
        "distributed/read": {"node_key": key},
        "distributed/write": {"queries": {"mine": [{"a": "1"}]}, "statuses": {"mine": 0}, "node_key": key},
        "log": {"data": [{"name": "x"}], "log_type": "result", "node_key": key},
    }[path]


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    return dict(pairs)


@pytest.mark.parametrize("path", PATHS)
async def test_a_success_is_an_object_without_error_and_a_failure_one_with_error(house: House, path: str) -> None:
    key = house.inventory.add_host(1)
    success = await house.post(path, usual(path, key))
    failures = [await house.post(path, body) for body in (b"", b"null", b"[]", b"5", b'"x"', b"true", {"node_key": []})]
    house.inventory.down = True
    failures.append(await house.post(path, {**usual(path, "who-knows")}))

    body = json.loads(success.content, object_pairs_hook=without_repeats)
    assert isinstance(body, dict)
    assert not {"error", "node_invalid"} & set(body)
    for failure in failures:
        body = json.loads(failure.content, object_pairs_hook=without_repeats)
        assert isinstance(body["error"], str)
        assert "node_invalid" not in body


@pytest.mark.parametrize("path", KEYED)
async def test_node_invalid_is_the_json_word_true(house: House, path: str) -> None:
    reply = await house.post(path, {"node_key": "never-existed"})

    assert reply.json()["node_invalid"] is True


@pytest.mark.parametrize("path", KEYED)
async def test_a_key_unknown_a_moment_ago_is_looked_up_again(house: House, path: str) -> None:
    key = house.inventory.add_host(1)
    record = house.inventory.records.popitem()
    early = await house.post(path, usual(path, key))
    house.inventory.records |= [record]

    async def is_served() -> bool:
        return "error" not in (await house.post(path, usual(path, key))).json()

    assert early.json()["node_invalid"] is True
    await eventually(is_served, timeout=2.0)


@pytest.mark.parametrize("accept", [{"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}])
async def test_no_answer_is_compressed(house: House, accept: dict[str, str]) -> None:
    house.merger.body = json.dumps({"schedule": {"big": "x" * 50_000}}).encode()
    key = house.inventory.add_host(1)

    reply = await house.post("config", {"node_key": key}, headers=accept)

    assert "content-encoding" not in reply.headers
    assert reply.content == house.merger.body


@pytest.mark.parametrize("path", KEYED)
async def test_the_key_counts_wherever_it_stands(house: House, path: str) -> None:
    key = house.inventory.add_host(1)
    others = {name: value for name, value in usual(path, key).items() if name != "node_key"}
    pad = {"pad": "x" * 20_000}

    for body in (
        {"node_key": key, **others, **pad},
        {**pad, **others, "node_key": key},
        {**pad, "node_key": key} | others,
    ):
        assert "error" not in (await house.post(path, body)).json()


async def test_the_key_of_a_large_post_is_its_last_member(house: House) -> None:
    key = house.inventory.add_host(1)
    lines = [{"name": "x", "columns": {"a": "y" * 1000}} for _ in range(3000)]

    reply = await house.post("log", {"data": lines, "log_type": "result", "node_key": key})

    assert reply.json() == {}


@pytest.mark.parametrize("path", KEYED)
async def test_a_key_inside_of_something_else_is_none(house: House, path: str) -> None:
    key = house.inventory.add_host(1)
    inside = {"node_key": key}

    reply = await house.post(
        path, {"data": [inside], "queries": {"node_key": [inside]}, "x": inside, "log_type": "result"}
    )

    assert reply.json() == {"error": "missing_node_key", "node_invalid": True}


@pytest.mark.parametrize("path", ["distributed/write", "log"])
async def test_a_custody_that_does_not_answer_is_not_waited_for_beyond_the_hosts_patience(
    house: House, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> int:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    key = house.inventory.add_host(1)
    await house.live_query.start(5, [1])
    await eventually(lambda: house.gateway.campaigns.has_open(1))
    monkeypatch.setattr("agent_gateway.domain.patience.HAND_OVER_SECONDS", 0.05)
    for part in (house.gateway.answers, house.gateway.logs):
        monkeypatch.setattr(part, "_publish", never)
    body = usual(path, key) | {"queries": {"fleet_distributed_query_5_1": [{"a": "1"}]}}

    reply = await asyncio.wait_for(house.post(path, body), 5.0)

    assert (reply.status_code, reply.json()) == (503, {"error": "unavailable"})


@pytest.mark.parametrize("path", KEYED)
async def test_an_inventory_that_does_not_answer_is_not_waited_for_beyond_the_hosts_patience(
    house: House, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = house.inventory.add_host(1)
    house.inventory.hold = asyncio.Event()
    monkeypatch.setattr("agent_gateway.domain.keys.RESOLVE_SECONDS", 0.05)

    reply = await asyncio.wait_for(house.post(path, usual(path, key)), 5.0)
    house.inventory.hold.set()

    assert (reply.status_code, reply.json()) == (503, {"error": "unavailable"})


@pytest.mark.parametrize("path", KEYED)
async def test_two_copies_at_once_are_both_answered(house: House, path: str) -> None:
    key = house.inventory.add_host(1)
    body = json.dumps(usual(path, key)).encode()

    first, second = await asyncio.gather(house.post(path, body), house.post(path, body))

    assert first.content == second.content
    assert "error" not in first.json()


async def test_two_copies_of_an_answer_settle_the_host_once(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.live_query.start(5, [1])
    await eventually(lambda: house.gateway.campaigns.has_open(1))
    body = {"node_key": key, "queries": {"fleet_distributed_query_5_1": [{"a": "1"}]}}

    replies = await asyncio.gather(*(house.post("distributed/write", body) for _ in range(2)))

    assert [reply.json() for reply in replies] == [{}, {}]
    assert await house.read(key) == {"queries": {}}


async def test_two_copies_of_an_enroll_each_get_a_key(house: House) -> None:
    replies = await asyncio.gather(*(house.post("enroll", usual("enroll", "")) for _ in range(2)))

    assert all(list(reply.json()) == ["node_key"] for reply in replies)


@pytest.mark.parametrize("path", PATHS)
async def test_both_url_families_serve_one_host(house: House, path: str) -> None:
    key = house.inventory.add_host(1)

    replies = [await house.post(path, usual(path, key), prefix=prefix) for prefix in PREFIXES]

    assert all("error" not in reply.json() for reply in replies)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["text/html", "application/json; charset=latin-1", "", "x"])
async def test_neither_content_type_nor_accept_is_demanded(house: House, path: str, kind: str) -> None:
    key = house.inventory.add_host(1)

    reply = await house.post(path, usual(path, key), headers={"Content-Type": kind, "Accept": kind})

    assert "error" not in reply.json()
    assert reply.headers["content-type"].startswith("application/json")


async def test_http_caching_is_not_spoken(house: House) -> None:
    key = house.inventory.add_host(1)
    first = await house.post("config", {"node_key": key})
    conditions = {"If-None-Match": "*", "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}

    reply = await house.post("config", {"node_key": key}, headers=conditions)

    assert "etag" not in first.headers
    assert (reply.status_code, reply.content) == (200, first.content)


@pytest.mark.parametrize("path", PATHS)
async def test_a_compressed_body_above_the_cap_gets_an_error(house: House, path: str) -> None:
    bomb = gzip.compress(b" " * (129 * 1024 * 1024), 1)

    reply = await house.post(path, bomb, headers={"Content-Encoding": "gzip"})

    assert reply.json()["error"] == "body_too_large"
    assert house.gateway.memory.used == 0

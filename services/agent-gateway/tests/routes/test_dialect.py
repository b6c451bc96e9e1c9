"""Every refusal is a JSON object with `error`; `node_invalid` is said only when it is proven."""

from __future__ import annotations

from typing import Any

import pytest
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, House
from ..stand_ins import SECRET

pytestmark = BOTH_ROADS

PATHS = ("enroll", "config", "distributed/read", "distributed/write", "log")
KEYED = PATHS[1:]
PREFIXES = ("/api/osquery", "/api/v1/osquery")


def is_refusal(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("error"), str) and "detail" not in body


@pytest.mark.parametrize("path", ["/", "/api/v1/osquery", "/api/v1/osquery/carve/end", "/api/v1/osquery/log/", "/x"])
async def test_an_unknown_path_answers_with_error_and_no_redirect(house: House, path: str) -> None:
    reply = await house.client.post(path, content=b"{}")

    assert reply.status_code == 404
    assert reply.json() == {"error": "not_found"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_answers_with_error(house: House, path: str, method: str) -> None:
    reply = await house.client.request(method, f"/api/v1/osquery/{path}")

    assert reply.status_code == 405
    assert reply.json() == {"error": "method_not_allowed"}


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_no_json_object_is_refused(house: House, path: str) -> None:
    bodies = (b"", b"null", b"[]", b'"x"', b"5", b"{", b"\xff\xfe", b"[" * 50_000, b'{"a":NaN}')
    replies = [await house.post(path, body, prefix=prefix) for body in bodies for prefix in PREFIXES]

    assert {reply.status_code for reply in replies} == {400}
    assert all(is_refusal(reply.json()) for reply in replies)
    assert not any("node_invalid" in reply.json() for reply in replies)


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("key", [5, True, ["x"], {}, 1.5])
async def test_a_key_of_a_wrong_type_is_refused_without_node_invalid(house: House, path: str, key: Any) -> None:
    reply = await house.post(path, {"node_key": key})

    assert reply.status_code == 400
    assert is_refusal(reply.json())
    assert "node_invalid" not in reply.json()


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("body", [{}, {"node_key": ""}, {"node_key": None}])
async def test_a_missing_key_is_node_invalid(house: House, path: str, body: dict[str, Any]) -> None:
    reply = await house.post(path, body)

    assert reply.status_code == 401
    assert reply.json() == {"error": "missing_node_key", "node_invalid": True}


@pytest.mark.parametrize("path", KEYED)
async def test_a_key_that_inventory_does_not_know_is_node_invalid(house: House, path: str) -> None:
    reply = await house.post(path, {"node_key": "never-existed"})

    assert reply.status_code == 401
    assert reply.json() == {"error": "invalid_node_key", "node_invalid": True}


@pytest.mark.parametrize("path", KEYED)
async def test_an_unknown_key_is_not_invalid_while_inventory_is_down(house: House, path: str) -> None:
    house.inventory.down = True

    reply = await house.post(path, {"node_key": "who-knows"})

    assert reply.status_code == 503
    assert reply.json() == {"error": "unavailable"}


async def test_a_key_in_the_header_is_enough(house: House) -> None:
    key = house.inventory.add_host()

    reply = await house.post("distributed/read", {}, headers={"Authorization": f"NodeKey {key}"})

    assert reply.json() == {"queries": {}}


async def test_two_different_keys_are_refused_but_neither_is_called_invalid(house: House) -> None:
    key = house.inventory.add_host()

    reply = await house.post("distributed/read", {"node_key": key}, headers={"Authorization": "NodeKey other"})

    assert reply.status_code == 401
    assert reply.json() == {"error": "node_keys_differ"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_the_content_type_is_not_looked_at(house: House, kind: str) -> None:
    key = house.inventory.add_host()

    reply = await house.post("distributed/read", {"node_key": key}, headers={"Content-Type": kind})

    assert reply.json() == {"queries": {}}


async def test_what_the_framework_finds_invalid_is_an_error_too(house: House) -> None:
    @house.fastapi.get("/needs-a-number")
    async def needs_a_number(number: int) -> dict[str, int]:
        return {"number": number}

    reply = await house.client.get("/needs-a-number", params={"number": "x"})

    assert reply.status_code == 422
    assert reply.json() == {"error": "invalid_request"}


async def test_a_bug_is_answered_with_error(house: House) -> None:
    key = house.inventory.add_host()
    house.gateway.campaigns = None  # type: ignore[assignment]

    reply = await house.post("distributed/read", {"node_key": key})

    assert reply.status_code == 500
    assert reply.json() == {"error": "internal"}


@pytest.mark.parametrize("path", KEYED)
async def test_a_gateway_that_hears_nothing_serves_only_the_empty_read(house: House, path: str) -> None:
    key = house.inventory.add_host()
    await house.read(key)
    house.gateway.silence = lambda: 61.0

    reply = await house.post(path, {"node_key": key, "log_type": "result", "data": [{}], "queries": {}})

    assert reply.json() == ({"queries": {}} if path == "distributed/read" else {"error": "unavailable"})


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("key", ["never-existed", "", None])
async def test_a_gateway_that_hears_nothing_calls_no_key_invalid(house: House, path: str, key: str | None) -> None:
    house.gateway.silence = lambda: 61.0

    reply = await house.post(path, {"node_key": key})

    assert (reply.status_code, reply.json()) == (503, {"error": "unavailable"})


async def test_a_gateway_that_hears_nothing_enrolls_nobody_and_calls_no_secret_bad(house: House) -> None:
    house.gateway.silence = lambda: 61.0

    replies = [
        await house.post("enroll", {"enroll_secret": secret, "host_identifier": "A"}) for secret in ("x", SECRET)
    ]

    assert [reply.json() for reply in replies] == [{"error": "unavailable"}] * 2
    assert house.inventory.enrolls == []


async def test_a_gateway_that_hears_nothing_hands_out_no_campaign(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.read(key)
    await house.live_query.start(5, [1])
    await eventually(lambda: house.gateway.campaigns.open_ids() == {5})
    house.gateway.silence = lambda: 61.0

    assert await house.read(key) == {"error": "unavailable"}


async def test_a_gateway_that_hears_again_serves_again(house: House) -> None:
    key = house.inventory.add_host(1)
    hears = house.gateway.silence
    house.gateway.silence = lambda: 61.0
    refused = (await house.post("config", {"node_key": key})).json()
    house.gateway.silence = hears

    assert refused == {"error": "unavailable"}
    assert (await house.post("config", {"node_key": key})).content == house.merger.body

"""What an idle host asks all day costs no look at admission."""

from __future__ import annotations

from typing import Any

import msgspec

from ..conftest import House

PATHS = ("/api/osquery/config", "/api/v1/osquery/distributed/read", "/api/fleet/orbit/config")


async def post(house: House, path: str, key: str, forwarded: str) -> Any:
    """Post as a server hands a small request on: its body in one message."""
    member = "orbit_node_key" if "orbit" in path else "node_key"
    headers = [(b"content-type", b"application/json"), (b"x-forwarded-for", forwarded.encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "headers": headers,
        "client": ("192.0.2.1", 4711),
    }
    messages = [{"type": "http.request", "body": msgspec.json.encode({member: key}), "more_body": False}]
    answer = b""

    async def receive() -> dict[str, Any]:
        return messages.pop()

    async def send(message: dict[str, Any]) -> None:
        nonlocal answer
        answer += message.get("body", b"")

    await house.door(scope, receive, send)  # type: ignore[arg-type]
    return msgspec.json.decode(answer)


async def test_a_poll_asks_nothing_of_admission_whatever_address_it_names(house: House) -> None:
    node, orbit = house.inventory.add_host(1), house.inventory.add_orbit(2)
    keys = dict(zip(PATHS, (node, node, orbit), strict=True))
    first = [await post(house, path, key, "") for path, key in keys.items()]
    house.gateway.admission = None  # type: ignore[assignment]  # whoever asked it would fail

    for number in range(1000):
        forwarded = f"192.0.2.{number % 250}, 2001:db8::{number:x}"
        assert [await post(house, path, key, forwarded) for path, key in keys.items()] == first
    assert not any("error" in answer for answer in first)

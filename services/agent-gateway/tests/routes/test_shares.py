"""Shares: who takes too much is told so alone, by credential first; addresses are limited by their failures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from agent_gateway.app import create_app
from agent_gateway.deps import Deps
from agent_gateway.domain.buckets import Buckets
from agent_gateway.domain.clients import networks

from ..conftest import BOTH_ROADS, House
from ..posting import logs_of, most_held
from ..servers import Servers
from ..stand_ins import SECRET

pytestmark = BOTH_ROADS

MIB = 1024 * 1024
TOO_MUCH = {"error": "too_many_requests"}


@pytest.mark.parametrize(
    ("request_class", "path", "body"),
    [("log", "log", logs_of), ("write", "distributed/write", lambda key: {"node_key": key, "queries": {}})],
)
async def test_a_host_that_has_had_its_share_waits_and_its_neighbour_does_not(
    house: House, request_class: Any, path: str, body: Callable[[str], dict[str, Any]]
) -> None:
    greedy, neighbour = house.inventory.add_host(1), house.inventory.add_host(2)
    house.gateway.admission.take_bytes(request_class, 1, 10**12)

    refused = await house.post(path, body(greedy))
    taken = await house.post(path, body(neighbour))

    assert (refused.status_code, refused.json(), taken.json()) == (429, TOO_MUCH, {})
    assert await house.read(greedy) == {"queries": {}}
    assert house.gateway.admission.refused == {(request_class, "host"): 1}


async def test_with_the_key_in_its_header_such_a_host_is_refused_before_its_body_is_kept(house: House) -> None:
    greedy = house.inventory.add_host(1)
    await house.read(greedy)
    house.gateway.admission.take_bytes("log", 1, 10**12)
    body = json.dumps(logs_of(greedy, size=4 * MIB)).encode()

    assert await most_held(house, body, Authorization=f"NodeKey {greedy}") == (TOO_MUCH, 0)
    assert (await most_held(house, body))[1] > 0


async def test_a_desktop_may_ask_for_a_refetch_now_and_then(house: House) -> None:
    tokens = []
    for host_id in (1, 2):
        tokens.append(f"token-of-{host_id}")
        key = house.inventory.add_orbit(host_id)
        await house.orbit("device_token", {"orbit_node_key": key, "device_auth_token": tokens[-1]})

    replies = [await house.client.post(f"/api/latest/fleet/device/{tokens[0]}/refetch") for _ in range(40)]
    other = await house.client.post(f"/api/latest/fleet/device/{tokens[1]}/refetch")

    statuses = [reply.status_code for reply in replies]
    assert (set(statuses), statuses[0], statuses[-1], other.status_code) == ({200, 429}, 200, 429, 200)
    assert 10 <= house.inventory.refetches.count(1) <= 20
    assert replies[-1].json()["error"] == "too_many_requests"


Post = Callable[..., Awaitable[httpx2.Response]]


@asynccontextmanager
async def behind_a_proxy(house: House, trusted: str) -> AsyncIterator[Post]:
    """The same gateway, behind proxies that are believed; posts come from 127.0.0.1 and may name an address.

    Its clock stands still for addresses: what one has spent does not come back while a slow machine goes on.
    """
    house.gateway.admission.failures = Buckets(1.0, 100.0, clock=lambda: 0.0)
    is_hot = house.door.gateway is not None
    door = create_app(Deps(house.gateway, networks(trusted)), is_hot=is_hot)
    async with httpx2.AsyncClient(transport=Servers(door), base_url="http://gateway") as client:

        async def post(path: str, body: dict[str, Any], address: str = "") -> httpx2.Response:
            headers = {"X-Forwarded-For": address} if address else {}
            return await client.post(f"/api/osquery/{path}", json=body, headers=headers)

        yield post


async def spend(house: House, post: Post, address: Callable[[int], str]) -> None:
    """Show unknown keys until nobody is asked about them any more."""
    for number in range(500):
        asked = len(house.inventory.resolves)
        await post("config", {"node_key": f"nobody {number}"}, address(number))
        if len(house.inventory.resolves) == asked:
            return
    raise AssertionError("inventory was asked about 500 unknown keys of one address")


async def test_an_address_that_shows_unknown_keys_again_and_again_has_nobody_asked_about_them(house: House) -> None:
    known, stranger = house.inventory.add_host(1), house.inventory.add_host(2)
    await house.read(known)
    async with behind_a_proxy(house, "127.0.0.1/32") as post:
        await spend(house, post, lambda _: "192.0.2.1")
        replies = [
            await post("distributed/read", {"node_key": key}, address)
            for key, address in ((known, "192.0.2.1"), ("nobody at all", "192.0.2.1"), (stranger, "192.0.2.2"))
        ]

    assert [(reply.status_code, reply.json()) for reply in replies] == [
        (200, {"queries": {}}),
        (429, TOO_MUCH),
        (200, {"queries": {}}),
    ]


async def test_a_header_of_somebody_who_is_no_trusted_proxy_is_ignored(house: House) -> None:
    async with behind_a_proxy(house, "203.0.113.0/24") as post:
        await spend(house, post, lambda number: f"192.0.2.{number % 250}")
        same_peer = await post("config", {"node_key": "nobody at all"}, "198.51.100.7")

    assert same_peer.json() == TOO_MUCH


async def test_a_trusted_proxy_itself_is_no_address_that_fails(house: House) -> None:
    async with behind_a_proxy(house, "127.0.0.1/32") as post:
        for _ in range(1000):
            house.gateway.admission.failures.take("127.0.0.1")
        reply = await post("config", {"node_key": "nobody at all"})

    assert reply.json() == {"error": "invalid_node_key", "node_invalid": True}


async def test_a_secret_that_has_let_hosts_in_is_good_from_an_address_that_fails(house: House) -> None:
    async def enroll(secret: str) -> Any:
        return (await house.post("enroll", {"enroll_secret": secret, "host_identifier": "A-1"})).json()

    assert "node_key" in await enroll(SECRET)
    house.gateway.admission.failures.take("127.0.0.1", 10**9)
    asked = len(house.inventory.enrolls)

    assert await enroll("made up") == TOO_MUCH
    assert len(house.inventory.enrolls) == asked
    assert "node_key" in await enroll(SECRET)


async def test_a_bad_secret_is_asked_about_once_in_a_moment(house: House) -> None:
    body = {"enroll_secret": "wrong", "host_identifier": "A-1"}

    replies = [(await house.post("enroll", body)).json() for _ in range(5)]

    assert replies == [{"error": "bad_enroll_secret", "node_invalid": True}] * 5
    assert len(house.inventory.enrolls) < 5

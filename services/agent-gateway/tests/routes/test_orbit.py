"""Orbit's API: what it is let in by, what it is told, and when it must enroll again."""

from __future__ import annotations

from typing import Any

import pytest
from flotilla_common.contracts.hosts import HostChangedV1, HostDeletedV1, HostEnrolledV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.contracts.plans import RenderPlanV1
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, House
from ..stand_ins import SECRET

pytestmark = BOTH_ROADS

CAPABILITIES = "orbit_endpoints,token_rotation"
ENROLL = {"enroll_secret": SECRET, "hardware_uuid": "4C4C4544-0051", "hostname": "web-17", "platform": "ubuntu"}


def is_refusal(body: Any) -> bool:
    """Whether orbit can show it to people and nobody takes it for a success or for an order of osqueryd's."""
    told = isinstance(body.get("message"), str) and isinstance(body["errors"][0]["reason"], str)
    return told and bool(body["error"]) and "node_invalid" not in body


async def asks_to_enroll_again(house: House, key: str) -> bool:
    return (await house.orbit("config", {"orbit_node_key": key})).status_code == 401


async def test_ping_needs_no_key_and_tells_what_the_server_can_do(house: House) -> None:
    reply = await house.client.head("/api/fleet/orbit/ping")

    assert (reply.status_code, reply.headers["X-Fleet-Capabilities"]) == (200, CAPABILITIES)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "config", {"orbit_node_key": "nobody"}, 401),
        ("POST", "config", [], 400),
        ("GET", "config", None, 405),
        ("POST", "scripts/request", {}, 404),
        ("POST", "ping", {}, 405),
        ("POST", "enroll", {"hardware_uuid": "A"}, 401),
        ("POST", "enroll", {"enroll_secret": SECRET}, 400),
        ("POST", "device_token", {}, 401),
        ("POST", "x/../../y", {}, 404),
    ],
)
async def test_every_reply_has_the_capabilities_and_says_failures_so_that_orbit_reads_them(
    house: House, method: str, path: str, body: object, status: int
) -> None:
    reply = await house.client.request(method, f"/api/fleet/orbit/{path}", json=body)

    assert reply.status_code == status
    if path != "x/../../y":  # the client itself makes another path of it
        assert reply.headers["X-Fleet-Capabilities"] == CAPABILITIES
        assert is_refusal(reply.json())


async def test_osqueryds_replies_have_no_capabilities(house: House) -> None:
    key = house.inventory.add_host()

    reply = await house.post("config", {"node_key": key})

    assert "X-Fleet-Capabilities" not in reply.headers


async def test_an_enrolled_orbit_gets_its_config_at_once_without_another_question(house: House) -> None:
    key = (await house.orbit("enroll", ENROLL)).json()["orbit_node_key"]

    reply = await house.orbit("config", {"orbit_node_key": key})

    assert reply.json() == {"notifications": {}, "script_execution_timeout": 600}
    assert reply.headers["X-Fleet-Capabilities"] == CAPABILITIES
    assert house.inventory.orbit_resolves == []
    [asked] = house.inventory.orbit_enrolls
    assert (asked.hardware_uuid, asked.hostname, asked.platform) == ("4C4C4544-0051", "web-17", "ubuntu")


@pytest.mark.parametrize("secret", ["wrong", "", None, 5, "x" * 2000, "a\0b"])
async def test_a_bad_secret_is_401(house: House, secret: object) -> None:
    reply = await house.orbit("enroll", ENROLL | {"enroll_secret": secret})

    assert (reply.status_code, reply.json()["message"]) == (401, "Authentication failed")
    assert is_refusal(reply.json())


@pytest.mark.parametrize("uuid", ["", "  ", "\0", None, [], {}])
async def test_an_enroll_without_the_hardwares_uuid_is_400(house: House, uuid: object) -> None:
    reply = await house.orbit("enroll", ENROLL | {"hardware_uuid": uuid})

    assert reply.status_code == 400
    assert "hardware_uuid" in reply.json()["errors"][0]["reason"]
    assert house.inventory.orbit_enrolls == []


async def test_an_enroll_while_inventory_is_down_is_503_so_that_orbit_tries_again(house: House) -> None:
    house.inventory.down = True

    reply = await house.orbit("enroll", ENROLL)

    assert reply.status_code == 503
    assert is_refusal(reply.json())


async def test_a_known_orbit_is_answered_from_memory(house: House) -> None:
    key = house.inventory.add_orbit()
    await house.orbit("config", {"orbit_node_key": key})
    before = dict(house.gateway.counters.backend_operations)

    replies = {(await house.orbit("config", {"orbit_node_key": key})).content for _ in range(20)}

    assert len(replies) == 1
    assert house.gateway.counters.backend_operations == before


async def test_an_orbit_that_asks_does_not_count_as_seen(house: House) -> None:
    key = house.inventory.add_orbit()
    for _ in range(2):
        await house.orbit("config", {"orbit_node_key": key})

    assert house.gateway.seen._ids == set()


async def test_one_apis_key_opens_nothing_of_the_other(house: House) -> None:
    node, orbit = house.inventory.add_host(1), house.inventory.add_orbit(2)
    for _ in range(2):
        assert "error" not in await house.read(node)
        assert (await house.orbit("config", {"orbit_node_key": orbit})).status_code == 200

    assert (await house.read(orbit))["error"] == "invalid_node_key"
    assert await asks_to_enroll_again(house, node)


@pytest.mark.parametrize("down", ["inventory", "bus"])
async def test_what_is_down_never_makes_orbit_enroll_again(house: House, down: str) -> None:
    known, unknown = house.inventory.add_orbit(1), house.inventory.add_orbit(2)
    await house.orbit("config", {"orbit_node_key": known})
    house.inventory.down = True
    if down == "bus":
        house.gateway.silence = lambda: 61.0

    for key in (unknown, "nobody", known, "", None):
        reply = await house.orbit("config", {"orbit_node_key": key})
        if down == "bus" or key in (unknown, "nobody"):
            assert (reply.status_code, is_refusal(reply.json())) == (503, True)
    assert (await house.orbit("config", {"orbit_node_key": known})).status_code == (200 if down == "inventory" else 503)


async def test_a_merger_that_made_nothing_for_orbit_yet_is_503_and_osqueryd_has_its_config(house: House) -> None:
    key, node = house.inventory.add_orbit(1), house.inventory.add_host(2)
    head = await house.merger.save(RenderPlanV1(team_id=None, platform="ubuntu"), b"{}")
    house.gateway.plans.take_head(head.model_copy(update={"orbit_sha256": "", "revision": 99}))

    reply = await house.orbit("config", {"orbit_node_key": key})

    assert reply.status_code == 503
    assert (await house.post("config", {"node_key": node})).content == b"{}"


async def test_an_orbit_that_enrolled_again_has_its_old_key_refused_within_a_second(house: House) -> None:
    old, new = house.inventory.add_orbit(1), "new-key"
    assert not await asks_to_enroll_again(house, old)
    record = house.inventory.orbits.pop(hash_node_key(old).hex())
    new_hash = hash_node_key(new).hex()
    newer = record.model_copy(update={"orbit_key_hash": new_hash, "revision": house.inventory.next_revision()})
    house.inventory.orbits[new_hash] = newer

    await house.inventory.tell(HostEnrolledV1(host=newer, retired_key_hashes=(hash_node_key(old).hex(),)))

    assert await eventually(lambda: asks_to_enroll_again(house, old), timeout=1.0)
    assert not await asks_to_enroll_again(house, new)


async def test_a_deleted_hosts_orbit_is_refused_within_a_second(house: House) -> None:
    key = house.inventory.add_orbit(1)
    assert not await asks_to_enroll_again(house, key)
    record = house.inventory.orbits.pop(hash_node_key(key).hex())

    gone = record.model_copy(update={"revision": house.inventory.next_revision()})
    await house.inventory.tell(HostDeletedV1(host=gone))

    assert await eventually(lambda: asks_to_enroll_again(house, key), timeout=1.0)


async def test_a_transferred_host_and_a_changed_plan_reach_orbit_within_a_second(house: House) -> None:
    key = house.inventory.add_orbit(1)
    await house.orbit("config", {"orbit_node_key": key})
    house.merger.orbit = b'{"config":{"team":7},"desktop":{},"transparency_url":""}'
    record = house.inventory.orbits[hash_node_key(key).hex()]

    moved = record.model_copy(update={"team_id": 7, "revision": house.inventory.next_revision()})
    await house.inventory.tell(HostChangedV1(host=moved))

    async def has(body: bytes) -> bool:
        return (await house.orbit("config", {"orbit_node_key": key})).content == body

    assert await eventually(lambda: has(b'{"team":7}'), timeout=1.0)
    house.merger.orbit = b'{"config":{"team":8},"desktop":{},"transparency_url":""}'
    await house.merger.save(RenderPlanV1(team_id=7, platform="ubuntu"), house.merger.body)
    assert await eventually(lambda: has(b'{"team":8}'), timeout=1.0)


async def test_the_plan_before_is_served_while_the_newest_cannot_be_had(house: House) -> None:
    key = house.inventory.add_orbit(1)
    before = (await house.orbit("config", {"orbit_node_key": key})).content
    head = next(iter(house.gateway.plans._heads.values()))
    house.gateway.plans.take_head(head.model_copy(update={"orbit_sha256": "0" * 64, "revision": head.revision + 1}))

    reply = await house.orbit("config", {"orbit_node_key": key})

    assert (reply.status_code, reply.content) == (200, before)

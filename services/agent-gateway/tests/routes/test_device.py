"""Device tokens: set by orbit, good for an hour, refused without asking anybody when they are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import pytest
from agent_gateway.routes.door import Door
from flotilla_common.contracts.device_tokens import DeviceToken, DeviceTokenSetV1, hash_device_token
from flotilla_common.contracts.hosts import HostDeletedV1, HostEnrolledV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.testing import eventually
from structlog.testing import capture_logs

from ..conftest import BOTH_ROADS, House

pytestmark = BOTH_ROADS

DEVICE = "/api/latest/fleet/device"


async def new_token(house: House, key: str) -> str:
    token = str(uuid4())
    reply = await house.orbit("device_token", {"orbit_node_key": key, "device_auth_token": token})
    assert (reply.status_code, reply.content) == (200, b"{}")
    return token


async def status(house: House, token: str) -> int:
    return (await house.client.head(f"{DEVICE}/{token}/ping")).status_code


async def asked(house: House) -> int:
    return sum(house.gateway.counters.backend_operations.values())


async def test_the_ping_of_the_api_needs_no_token(house: House) -> None:
    reply = await house.client.head("/api/fleet/device/ping")

    assert (reply.status_code, reply.headers["X-Fleet-Capabilities"]) == (200, "")


@pytest.mark.parametrize("version", ["v1", "2022-04", "latest"])
async def test_a_token_opens_the_four_doors_in_each_version(house: House, version: str) -> None:
    token = await new_token(house, house.inventory.add_orbit(7))
    base = f"/api/{version}/fleet/device/{token}"

    ping = await house.client.head(f"{base}/ping")
    summary = await house.client.get(f"{base}/desktop")
    refetch = await house.client.post(f"{base}/refetch")
    transparency = await house.client.get(f"{base}/transparency", follow_redirects=False)

    assert (ping.status_code, ping.content) == (200, b"")
    assert summary.json()["config"]["org_info"]["org_name"] == "Example"
    assert (refetch.content, house.inventory.refetches) == (b"{}", [7])
    assert (transparency.status_code, transparency.headers["Location"]) == (307, "https://example.com/what%20we%20see")
    assert transparency.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "ping"), ("GET", "desktop"), ("POST", "refetch"), ("GET", "transparency")]
)
@pytest.mark.parametrize("token", ["nobody", "x" * 4000, "%00", "é", "..;", "%2e%2e%3b"])
async def test_a_bad_token_is_401_and_nobody_is_asked(house: House, method: str, path: str, token: str) -> None:
    reply = await house.client.request(method, f"{DEVICE}/{token}/{path}", follow_redirects=False)

    assert reply.status_code == 401
    if method != "HEAD":  # which has no body
        assert reply.json()["message"] == "Authentication required"
        assert reply.json()["error"] == "invalid_device_token"
    assert house.gateway.counters.backend_operations == {}


async def test_a_token_is_good_for_an_hour_and_then_refused_without_asking(house: House) -> None:
    key = house.inventory.add_orbit()
    token = await new_token(house, key)
    good = house.gateway.orbit.tokens.find(hash_device_token(token))
    assert good is not None
    set_at, before = good.until - 3600, await asked(house)

    house.gateway.orbit.tokens._clock = lambda: set_at + 3599.9
    assert await status(house, token) == 200
    house.gateway.orbit.tokens._clock = lambda: set_at + 3600.0
    assert await status(house, token) == 401
    assert await asked(house) == before


async def test_the_same_token_again_is_not_asked_about_and_does_not_live_longer(house: House) -> None:
    key = house.inventory.add_orbit()
    token = await new_token(house, key)
    body = {"orbit_node_key": key, "device_auth_token": token}
    good = house.gateway.orbit.tokens.find(hash_device_token(token))

    assert (await house.orbit("device_token", body)).status_code == 200
    assert len(house.inventory.set_tokens) == 1
    assert house.gateway.orbit.tokens.find(hash_device_token(token)) is good
    house.gateway.orbit.tokens._clock = lambda: 9e9  # expired: the question is asked, the answer is the old time
    assert (await house.orbit("device_token", body)).status_code == 200
    assert len(house.inventory.set_tokens) == 2
    assert await status(house, token) == 401


async def test_a_new_token_kills_the_one_before_at_once(house: House) -> None:
    key = house.inventory.add_orbit()
    old = await new_token(house, key)
    new = await new_token(house, key)

    assert [await status(house, token) for token in (old, new)] == [401, 200]


async def test_another_hosts_token_is_409_and_stays_the_others(house: House) -> None:
    token = await new_token(house, house.inventory.add_orbit(1))

    reply = await house.orbit(
        "device_token", {"orbit_node_key": house.inventory.add_orbit(2), "device_auth_token": token}
    )

    assert (reply.status_code, reply.json()["error"]) == (409, "device_token_in_use")
    assert await status(house, token) == 200


@pytest.mark.parametrize("token", ["", None, 5, [], "a/b", "a b", "é", ".", "..", "x" * 256, "a%62", "a\n"])
async def test_a_token_that_could_not_stand_in_a_path_is_400(house: House, token: object) -> None:
    key = house.inventory.add_orbit()

    reply = await house.orbit("device_token", {"orbit_node_key": key, "device_auth_token": token})

    assert (reply.status_code, reply.json()["error"]) == (400, "malformed_device_token")
    assert house.inventory.set_tokens == []


async def test_a_bad_token_from_an_unknown_orbit_is_401(house: House) -> None:
    reply = await house.orbit("device_token", {"orbit_node_key": "nobody", "device_auth_token": ""})

    assert reply.status_code == 401


async def test_an_orbit_key_that_has_just_been_retired_is_401(house: House) -> None:
    key = house.inventory.add_orbit()
    await house.orbit("config", {"orbit_node_key": key})
    house.inventory.orbits.clear()

    reply = await house.orbit("device_token", {"orbit_node_key": key, "device_auth_token": "token"})

    assert reply.status_code == 401


@pytest.mark.parametrize("how", ["deleted", "enrolled again"])
async def test_a_token_dies_with_its_orbit_key_within_a_second_and_nobody_is_asked(house: House, how: str) -> None:
    key = house.inventory.add_orbit()
    token = await new_token(house, key)
    key_hash = hash_node_key(key).hex()
    record = house.inventory.orbits.pop(key_hash).model_copy(update={"revision": house.inventory.next_revision()})
    before = await asked(house)

    if how == "deleted":
        await house.inventory.tell(HostDeletedV1(host=record))
    else:
        newer = record.model_copy(update={"orbit_key_hash": hash_node_key("another").hex()})
        await house.inventory.tell(HostEnrolledV1(host=newer, retired_key_hashes=(key_hash,)))

    await eventually(lambda: len(house.gateway.orbit.tokens) == 0, timeout=1.0)
    tombstones = house.gateway.orbit.hosts._clock
    house.gateway.orbit.hosts._clock = lambda: tombstones() + 61.0  # no longer known to be dead
    assert await status(house, token) == 401
    assert await asked(house) == before


async def test_tokens_set_at_another_gateway_are_heard_of(house: House) -> None:
    key = house.inventory.add_orbit(3)
    tokens = [
        DeviceToken(
            host_id=3,
            token_hash=hash_device_token(name).hex(),
            orbit_key_hash=hash_node_key(key).hex(),
            set_at=datetime.now(UTC) - timedelta(seconds=age),
            revision=100 + number,
        )
        for number, (name, age) in enumerate((("first", 10), ("second", 0), ("too-old", 3601)))
    ]

    await house.inventory.tell(DeviceTokenSetV1(token=tokens[0]))
    assert await eventually(lambda: _is(house, "first", 200))
    await house.inventory.tell(DeviceTokenSetV1(token=tokens[1]))
    await house.inventory.tell(DeviceTokenSetV1(token=tokens[0]))  # a repeat that comes late
    assert await eventually(lambda: _is(house, "second", 200))
    assert await status(house, "first") == 401
    await house.inventory.tell(DeviceTokenSetV1(token=tokens[2]))
    assert await eventually(lambda: _is(house, "second", 401))
    assert await status(house, "too-old") == 401


async def _is(house: House, token: str, wanted: int) -> bool:
    return await status(house, token) == wanted


@pytest.mark.parametrize("part", ["bus", "tokens"])
async def test_who_hears_nothing_calls_no_token_bad(house: House, part: str) -> None:
    token = await new_token(house, house.inventory.add_orbit())
    if part == "bus":
        house.gateway.silence = lambda: 61.0
    else:
        house.gateway.orbit.tokens.silence = lambda: 61.0

    assert [await status(house, one) for one in (token, "nobody")] == [503, 503]


async def test_a_refetch_of_a_host_that_is_gone_is_401(house: House) -> None:
    token = await new_token(house, house.inventory.add_orbit())
    house.inventory.orbits.clear()

    assert (await house.client.post(f"{DEVICE}/{token}/refetch")).status_code == 401


@pytest.mark.parametrize("prefix", [DEVICE, "/api/v1/fleet/device", "/api/fleet/device"])
async def test_a_token_is_never_logged(house: House, prefix: str) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a bug")

    transport = httpx2.ASGITransport(Door(fails), raise_app_exceptions=False)  # type: ignore[arg-type]
    with capture_logs() as logs:
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await client.get(f"{prefix}/very-secret/desktop")

    assert [entry["path"] for entry in logs] == [f"{prefix}/***/desktop"]

"""POST enroll."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from agent_gateway.domain import enrollment
from flotilla_common.contracts.hosts import (
    EnrollSecretExpired,
    EnrollSecretUsedUp,
    EnrollSecretWrongNetwork,
    IdentityHeld,
)
from flotilla_common.errors import Denied
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, SECRET, House

pytestmark = BOTH_ROADS

OLD_CLIENT = {"enroll_secret": SECRET, "host_identifier": "A-1"}


async def test_a_good_secret_is_traded_for_a_node_key(house: House) -> None:
    reply = await house.post("enroll", OLD_CLIENT)

    assert reply.status_code == 200
    assert list(reply.json()) == ["node_key"]
    assert reply.json()["node_key"]


async def test_the_new_key_is_usable_at_once_and_without_asking(house: House) -> None:
    key = (await house.post("enroll", OLD_CLIENT)).json()["node_key"]

    assert await house.read(key) == {"queries": {}}
    assert house.inventory.resolves == []


@pytest.mark.parametrize("secret", ["wrong", "", None, "x" * 5000, "let-me-in\0"])
async def test_a_bad_secret_is_refused_with_node_invalid(house: House, secret: str | None) -> None:
    reply = await house.post("enroll", OLD_CLIENT | {"enroll_secret": secret})

    assert reply.status_code == 401
    assert reply.json() == {"error": "bad_enroll_secret", "node_invalid": True}


@pytest.mark.parametrize("refusal", [EnrollSecretExpired, EnrollSecretUsedUp, EnrollSecretWrongNetwork, IdentityHeld])
async def test_a_host_that_is_not_let_in_is_told_why_with_node_invalid(house: House, refusal: type[Denied]) -> None:
    house.inventory.refusal = refusal()

    reply = await house.post("enroll", OLD_CLIENT)

    assert reply.status_code == 401
    assert reply.json() == {"error": refusal.code, "node_invalid": True}


async def test_an_outage_is_an_error_without_node_invalid(house: House) -> None:
    house.inventory.down = True

    reply = await house.post("enroll", OLD_CLIENT)

    assert reply.status_code == 503
    assert reply.json() == {"error": "unavailable"}


@pytest.mark.parametrize("secret", [SECRET, "wrong", "", None])
async def test_a_gateway_that_hears_nothing_calls_no_secret_invalid(house: House, secret: str | None) -> None:
    house.gateway.silence = lambda: 61.0

    reply = await house.post("enroll", OLD_CLIENT | {"enroll_secret": secret})

    assert (reply.status_code, reply.json()) == (503, {"error": "unavailable"})


async def test_inventory_is_told_how_long_a_host_waited_for_its_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots, seconds = asyncio.Semaphore(0), [100.0]
    monkeypatch.setattr(house.gateway.enrollments, "_slots", slots)
    monkeypatch.setattr(enrollment, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    post = asyncio.create_task(house.post("enroll", OLD_CLIENT))
    await eventually(lambda: house.gateway.enrollments._queued)
    seconds[0] += 2.5
    slots.release()
    await post

    [request] = house.inventory.enrolls
    assert request.waited_seconds == 2.5


async def test_nuls_numbers_and_nulls_become_clean_strings(house: House) -> None:
    details = {
        "system_info": {"cpu_brand": "Sample CPU\0\0\0", "physical_memory": 123, "local_hostname": None, "odd": [1]},
        "platform_info": {},
        "os_version": None,
    }

    await house.post("enroll", OLD_CLIENT | {"platform_type": 9, "host_details": details})

    [request] = house.inventory.enrolls
    assert request.platform_type == "9"
    assert request.host_details == {
        "system_info": {"cpu_brand": "Sample CPU", "physical_memory": "123", "local_hostname": ""},
        "platform_info": {},
    }


@pytest.mark.parametrize("details", [None, {}, [], "text", {"system_info": {}}])
async def test_missing_or_odd_host_details_are_legal(house: House, details: Any) -> None:
    reply = await house.post("enroll", OLD_CLIENT | {"host_details": details})

    assert reply.json()["node_key"]


async def test_half_a_surrogate_pair_does_not_stop_an_enrollment(house: House) -> None:
    body = b'{"enroll_secret":"let-me-in","host_identifier":"A-\\ud800"}'

    reply = await house.post("enroll", body)

    assert reply.json()["node_key"]


async def test_an_empty_identifier_is_replaced_from_the_details(house: House) -> None:
    body = {"enroll_secret": SECRET, "host_identifier": "", "host_details": {"osquery_info": {"uuid": "U-1"}}}

    await house.post("enroll", body)

    assert house.inventory.enrolls[0].host_identifier == "U-1"


async def test_a_host_without_any_identifier_is_refused(house: House) -> None:
    reply = await house.post("enroll", {"enroll_secret": SECRET})

    assert reply.status_code == 400
    assert reply.json()["error"] == "malformed_body"


async def test_oversized_details_are_cut(house: House) -> None:
    details = {f"t{number}": {"c": "x" * 10_000} for number in range(50)}

    await house.post("enroll", OLD_CLIENT | {"host_details": details})

    [request] = house.inventory.enrolls
    assert len(request.host_details) == 16
    assert len(request.host_details["t0"]["c"]) == 4096


async def test_a_storm_beyond_the_queue_gets_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrollment, "QUEUE_LIMIT", 0)

    replies = await asyncio.gather(*(house.post("enroll", OLD_CLIENT) for _ in range(3)))

    assert {reply.status_code for reply in replies} == {503}
    assert all(reply.json() == {"error": "unavailable"} for reply in replies)


async def test_an_enroll_that_takes_too_long_gets_an_error_and_frees_its_place(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrollment, "PATIENCE_SECONDS", 0.05)
    house.inventory.hold = asyncio.Event()

    replies = await asyncio.gather(*(house.post("enroll", OLD_CLIENT) for _ in range(enrollment.AT_ONCE + 8)))
    house.inventory.hold.set()
    monkeypatch.undo()

    assert {reply.status_code for reply in replies} == {503}
    assert (await house.post("enroll", OLD_CLIENT)).json()["node_key"]

"""Traps 17, 72 and 80: an enroll of any age says who the host is, and nobody believes what a stranger forwards."""

from __future__ import annotations

from typing import Any

import pytest

from ..conftest import BOTH_ROADS, House
from ..stand_ins import SECRET

pytestmark = BOTH_ROADS

ROW = {"hostname": "web-17", "hardware_serial": "ABC1234", "cpu_brand": "CPU\0\0"}
CLEAN = {"hostname": "web-17", "hardware_serial": "ABC1234", "cpu_brand": "CPU"}


async def enrolled(house: House, **members: Any) -> Any:
    """Enroll; return what inventory was asked."""
    reply = await house.post("enroll", {"enroll_secret": SECRET, "host_identifier": "A-1", **members})
    assert list(reply.json()) == ["node_key"], reply.json()
    return house.inventory.enrolls[-1]


@pytest.mark.parametrize(
    ("details", "understood"),
    [
        ({"system_info": ROW}, {"system_info": CLEAN}),
        ({"system_info": [ROW]}, {"system_info": CLEAN}),
        ({"system_info": [ROW, {"hostname": "other"}]}, {"system_info": CLEAN}),
        ({"system_info": [], "os_version": [5], "osquery_info": "", "platform_info": None}, {}),
        ({"system_info": {}, "os_version": {}}, {"system_info": {}, "os_version": {}}),
        ({"system_info": ROW, "later": {"a": "b"}}, {"system_info": CLEAN, "later": {"a": "b"}}),
        ({}, {}),
        (None, {}),
        ("", {}),
        ([], {}),
        (5, {}),
    ],
)
async def test_host_details_of_every_shape(house: House, details: Any, understood: Any) -> None:
    request = await enrolled(house, host_details=details)

    assert request.host_details == understood


async def test_a_client_before_host_details_and_platform_type(house: House) -> None:
    request = await enrolled(house)

    assert (request.host_identifier, request.platform_type, request.host_details) == ("A-1", "", {})


@pytest.mark.parametrize(("sent", "understood"), [("9", "9"), (9, "9"), (None, ""), ("", ""), ([], "")])
async def test_the_platform_type_is_text_or_number(house: House, sent: Any, understood: str) -> None:
    assert (await enrolled(house, platform_type=sent)).platform_type == understood


async def test_a_forwarded_address_is_believed_from_nobody_by_default(house: House) -> None:
    body = {"enroll_secret": SECRET, "host_identifier": "A-1"}
    headers = {"X-Forwarded-For": "192.0.2.9", "X-Real-IP": "192.0.2.9", "True-Client-IP": "192.0.2.9"}

    await house.post("enroll", body, headers=headers)

    assert house.inventory.enrolls[-1].remote_address == "127.0.0.1"

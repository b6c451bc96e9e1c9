"""Orbit and the desktop beside osqueryd: one host, its own key, a token that is good at both gateways."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from .machines import Machine
from .people import Person

ORBIT = "/api/fleet/orbit"
DEVICE = "/api/latest/fleet/device"
EXTENSION = {"channel": "stable", "platform": "linux"}


@dataclass
class Computer:
    """A computer with orbit and osqueryd, through the edge."""

    client: httpx2.AsyncClient
    host_id: int
    label: str
    osqueryd: Machine
    orbit_node_key: str

    async def config(self) -> httpx2.Response:
        return await self.client.post(f"{ORBIT}/config", json={"orbit_node_key": self.orbit_node_key})

    async def new_token(self) -> str:
        token = str(uuid4())
        body = {"orbit_node_key": self.orbit_node_key, "device_auth_token": token}
        reply = await self.client.post(f"{ORBIT}/device_token", json=body)
        assert (reply.status_code, reply.content) == (200, b"{}")
        return token


def options(label: str) -> dict[str, Any]:
    return {
        "config": {"options": {"schedule_splay_percent": 14}},
        "command_line_flags": {"verbose": True},
        "extensions": {"everywhere": EXTENSION, "somewhere": EXTENSION | {"labels": [label]}},
    }


@pytest.fixture
async def computer(stack: RunningStack, admin: Person) -> AsyncIterator[Computer]:
    """A computer whose orbit enrolled first."""
    label, identifier = f"e2e-{uuid4()}", f"e2e-{uuid4()}"
    await admin.call("POST", "/labels", {"name": label})
    team_id, secret = await admin.team(f"Orbit {uuid4()}", mode="replace", options=options(label))
    enroll = {"enroll_secret": secret, "hardware_uuid": identifier.upper(), "platform": "ubuntu"}
    dev = stack.dev()
    trust = ssl.create_default_context(cafile=dev["ca_file"])
    async with httpx2.AsyncClient(base_url=dev["url"], verify=trust, timeout=30.0) as client:
        refused = await client.post(f"{ORBIT}/enroll", json=enroll | {"enroll_secret": "wrong"})
        assert (refused.status_code, refused.json()["message"]) == (401, "Authentication failed")
        key = (await client.post(f"{ORBIT}/enroll", json=enroll)).json()["orbit_node_key"]
        osqueryd = Machine(client, identifier)
        await osqueryd.enroll(secret)
        [host] = await admin.hosts(team_id=team_id)
        yield Computer(client, host["id"], label, osqueryd, key)


async def test_orbit_and_osqueryd_take_their_parts_of_the_same_agent_options(computer: Computer, admin: Person) -> None:
    ping = await computer.client.head(f"{ORBIT}/ping")
    assert "token_rotation" in ping.headers["X-Fleet-Capabilities"].split(",")
    assert (await computer.osqueryd.config())["options"] == {"schedule_splay_percent": 14}

    async def gets(*extensions: str) -> bool:
        reply = await computer.config()
        assert reply.headers["X-Fleet-Capabilities"] == ping.headers["X-Fleet-Capabilities"]
        rest = {"command_line_startup_flags": {"verbose": True}, "notifications": {}}
        return bool(reply.json() == rest | {"extensions": dict.fromkeys(extensions, EXTENSION)})

    assert await eventually(lambda: gets("everywhere"), timeout=30.0)
    await admin.call("POST", f"/hosts/{computer.host_id}/labels", {"labels": [computer.label]})
    assert await eventually(lambda: gets("everywhere", "somewhere"), timeout=30.0)


async def test_a_token_is_good_at_both_gateways_until_the_host_is_deleted(
    stack: RunningStack, computer: Computer, admin: Person
) -> None:
    token = await computer.new_token()
    for gateway in stack.dev()["gateways"]:
        async with httpx2.AsyncClient(base_url=gateway["plain_url"]) as direct:

            async def is_let_in(direct: httpx2.AsyncClient = direct) -> bool:
                return (await direct.head(f"{DEVICE}/{token}/ping")).status_code == 200

            assert await eventually(is_let_in, timeout=1.0)
            assert (await direct.head(f"{DEVICE}/{uuid4()}/ping")).status_code == 401
    summary = (await computer.client.get(f"{DEVICE}/{token}/desktop")).json()
    organization = (await admin.call("GET", "/config"))["org_info"]
    assert summary["config"]["org_info"]["org_name"] == organization["org_name"]
    reply = await computer.client.get(f"{DEVICE}/{token}/transparency", follow_redirects=False)
    assert (reply.status_code, reply.headers["Location"].startswith("https://")) == (307, True)
    assert (await computer.client.post(f"{DEVICE}/{token}/refetch")).content == b"{}"

    await admin.call("DELETE", f"/hosts/{computer.host_id}")

    async def is_out() -> bool:
        device = await computer.client.head(f"{DEVICE}/{token}/ping")
        return ((await computer.config()).status_code, device.status_code) == (401, 401)

    assert await eventually(is_out, timeout=2.0)

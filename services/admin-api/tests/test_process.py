"""The real process: set up over HTTP, its events leave, it hears of hosts and stops on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import httpx2
import uvloop
from admin_api.__main__ import main
from flotilla_common import service
from flotilla_common.contracts.hosts import HostEnrolledV1, HostRecord
from flotilla_common.testing.waiting import eventually
from flotilla_stack.servers.ports import choose_port


@asynccontextmanager
async def running(environment: dict[str, str]):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "admin_api", env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def is_ready(port: int) -> bool:
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx2.TransportError:
            return False


async def test_a_whole_life(service_environment, bus_for):
    port, health = choose_port(), choose_port()
    listening = {"FLOTILLA_LISTEN_PORT": str(port), "FLOTILLA_HEALTH_PORT": str(health)}
    inventory, merger = await bus_for("inventory"), await bus_for("config_merger")
    setup = {
        "admin": {"name": "Ada", "email": "ada@acme.test", "password": "correct-Horse-7"},
        "org_info": {"org_name": "Acme"},
        "server_url": "https://fleet.acme.test",
    }
    async with running(service_environment("admin_api") | listening) as process:
        await eventually(lambda: is_ready(health), timeout=60.0)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
            token = (await client.post("/api/v1/setup", json=setup)).json()["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            record = HostRecord(host_id=7, revision=1, node_key_hash="0" * 32)
            await inventory.publish(HostEnrolledV1(host=record, first_time=True))

            async def told() -> list[str]:
                found = (await client.get("/api/v1/fleet/activities")).json()["activities"]
                return [activity["type"] for activity in found]

            async def events() -> bool:
                return bool((await merger.js.stream_info("DEFINITIONS")).state.messages == 3)

            assert await eventually(told, timeout=30.0) == ["fleet_enrolled"]
            await eventually(events, timeout=30.0)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), timeout=30.0)

    assert code == 0


async def test_a_missing_setting_is_named_and_nothing_starts(service_environment):
    environment = service_environment("admin_api")
    del environment["FLOTILLA_SECRETS_KEY_FILE"]
    async with running(environment | {"FLOTILLA_LISTEN_PORT": "0"}) as process:
        _, said = await asyncio.wait_for(process.communicate(), timeout=60.0)

    assert process.returncode not in {0, None}
    assert b"SECRETS_KEY" in said


def test_people_are_served_on_uvloop(service_environment, monkeypatch):
    loops = []
    policy = asyncio.get_event_loop_policy()
    environment = service_environment("admin_api") | {"FLOTILLA_LISTEN_PORT": "0", "FLOTILLA_HEALTH_PORT": "0"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(service, "run", lambda *_: loops.append(asyncio.new_event_loop()))

    try:
        main()
    finally:
        asyncio.set_event_loop_policy(policy)

    [loop] = loops
    loop.close()
    assert isinstance(loop, uvloop.Loop)

"""The real process: ready, one schema, one stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import httpx2
from flotilla_common.contracts.hosts import EnrollHostV1, ResolveNodeKeysV1
from flotilla_common.db.models.inventory import Outbox
from flotilla_common.testing import eventually


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def is_ready(port: int) -> bool:
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx2.TransportError:
            return False


async def test_a_host_enrolls_its_event_leaves_and_the_process_stops_on_sigterm(
    service_environment, database, definitions, gateway
):
    health = free_port()
    environment = service_environment("inventory") | {"FLOTILLA_HEALTH_PORT": str(health)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inventory", env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await eventually(lambda: is_ready(health), timeout=60.0)
        answer = await gateway.request(EnrollHostV1(enroll_secret="secret-of-no-team", host_identifier="A-1"))
        found = await gateway.request(ResolveNodeKeysV1(key_hashes=(answer.host.node_key_hash,)))

        async def nothing_waits() -> bool:
            return not list(await database.rows(Outbox))

        await eventually(nothing_waits, timeout=30.0)
        event = await gateway.js.get_last_msg("HOSTS", "hosts.enrolled.v1")
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), timeout=30.0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert found.hosts == (answer.host,)
    assert answer.host.node_key_hash.encode() in event.data
    assert code == 0

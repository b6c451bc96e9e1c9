"""A service's process: health from the first moment, ready when started, a clean stop on SIGTERM."""

import asyncio
import signal
import sys

import httpx2
from flotilla_common.testing import eventually
from flotilla_stack.servers.ports import choose_port

PROGRAM = """
import asyncio
from flotilla_common.service import run
from flotilla_common.settings import CommonSettings, load_or_exit

async def main(tasks, health):
    broken = asyncio.Event()
    async def check():
        return "broken" if broken.is_set() else None
    health.ready_checks["part"] = check
    asyncio.get_running_loop().add_signal_handler(10, broken.set)

run("example", load_or_exit(CommonSettings), main)
"""


async def start(port: int, **extra: str) -> asyncio.subprocess.Process:
    environment = {
        "FLOTILLA_NATS_URL": "nats://127.0.0.1:1",
        "FLOTILLA_NATS_USER": "example",
        "FLOTILLA_NATS_PASSWORD": "p",
        "FLOTILLA_HEALTH_PORT": str(port),
        **extra,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def status(port: int, path: str) -> int:
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}{path}")).status_code
        except httpx2.TransportError:
            return 0


async def test_it_is_healthy_then_unready_when_a_check_fails_and_stops_on_sigterm():
    port = choose_port()
    process = await start(port)

    async def answers(path: str, expected: int) -> bool:
        return await status(port, path) == expected

    await eventually(lambda: answers("/readyz", 200))
    assert await answers("/healthz", 200)
    assert await answers("/metrics", 200)
    process.send_signal(signal.SIGUSR1)
    await eventually(lambda: answers("/readyz", 503))
    assert await answers("/healthz", 200)
    process.terminate()
    output, _ = await asyncio.wait_for(process.communicate(), 10)

    assert process.returncode == 0
    assert b'"event": "stopped"' in output


async def test_wrong_settings_are_one_readable_message_and_status_2():
    process = await start(0, FLOTILLA_HEALTH_PORT="none")
    _, errors = await asyncio.wait_for(process.communicate(), 20)

    assert process.returncode == 2
    assert b"FLOTILLA_HEALTH_PORT" in errors
    assert b"Traceback" not in errors

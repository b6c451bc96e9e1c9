"""The real processes: a reporter that finds a collector."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import httpx2
from flotilla_common.db.models.analytics import ReceivedReport
from flotilla_common.testing import eventually
from flotilla_stack.servers.ports import choose_port


@asynccontextmanager
async def running(part: str, environment: dict[str, str]):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "analytics", part, env={**os.environ, **environment}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_reporter_reports_at_its_first_start_and_both_stop_on_sigterm(service_environment, database):
    port, health = choose_port(), choose_port()
    own = service_environment("analytics")
    without_bus = {name: value for name, value in own.items() if "NATS" not in name}
    listening = {"FLOTILLA_LISTEN_PORT": str(port), "FLOTILLA_HEALTH_PORT": str(health)}
    async with running("collector", without_bus | listening) as collector:
        await eventually(lambda: is_ready(health), timeout=30.0)
        async with running("reporter", own | {"FLOTILLA_COLLECTOR_URL": f"http://127.0.0.1:{port}"}) as reporter:
            await eventually(lambda: database.rows(ReceivedReport), timeout=30.0)
            for process in (reporter, collector):
                process.send_signal(signal.SIGTERM)
            codes = await asyncio.wait_for(asyncio.gather(reporter.wait(), collector.wait()), timeout=20.0)

    assert codes == [0, 0]


async def is_ready(port: int) -> bool:
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx2.TransportError:
            return False

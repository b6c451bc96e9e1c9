"""A service's real process in a test: started, awaited until it is ready, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from flotilla_stack.servers.ports import choose_row

from flotilla_common.testing.waiting import eventually

READY_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass
class RunningService:
    """A process; its health port answers on 127.0.0.1."""

    process: asyncio.subprocess.Process
    health_port: int

    async def is_ready(self) -> bool:
        """Ask /readyz."""
        async with httpx2.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{self.health_port}/readyz", timeout=5.0)).status_code == 200
            except httpx2.TransportError:
                return False

    async def ready(self) -> None:
        """Wait until it can do its work.

        Raises:
            AssertionError: it ended, or is not ready in time.

        """

        async def is_ready_or_ended() -> bool:
            return self.process.returncode is not None or await self.is_ready()

        await eventually(is_ready_or_ended, timeout=READY_SECONDS)
        if self.process.returncode is not None:
            message = f"the process ended with {self.process.returncode}"
            raise AssertionError(message)

    async def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), timeout=STOP_SECONDS)

    async def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running_service(
    module: str, *arguments: str, environment: Mapping[str, str]
) -> AsyncIterator[RunningService]:
    """Run `python -m module` with these FLOTILLA_* variables and health ports of its own; kill it in the end.

    With FLOTILLA_WORKERS above 1 there is a health port for each of them behind the first.
    """
    workers = int(environment.get("FLOTILLA_WORKERS", "1"))
    health_port, *_ = choose_row(1 if workers == 1 else 1 + workers)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env={**os.environ, **environment, "FLOTILLA_HEALTH_PORT": str(health_port)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    running = RunningService(process, health_port)
    try:
        yield running
    finally:
        await running.kill()

"""Several processes behind the same ports: their parent starts them, watches them, starts them again and stops them.

Each worker is a gateway of its own: fresh interpreter, own cache, own followers and connection to the bus. It binds the
ports itself (SO_REUSEPORT: the kernel spreads new connections over those who listen), so that one who is not there is
sent nobody. Worker n, from 1, answers for its health and has its metrics at HEALTH_PORT + n; the parent answers at
HEALTH_PORT for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator

import structlog
from flotilla_common.http.health import Health
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent_gateway.settings import Settings
from agent_gateway.worker import OPEN

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 0.5  # before a worker that ended is started again; doubled each time, up to
LONGEST_PAUSE_SECONDS = 30.0
CALM_SECONDS = 60.0  # who lived so long begins with the first pause again
STOP_SECONDS = 20.0  # for open requests and what is in hand; after that a worker is killed
SIGNALLED = 128  # a shell's way to say by which signal a process ended
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach who listens on all of them


class WorkerCannotStart(Exception):
    """A worker ended before its ports were open, and it never had them open or no other one has."""


class Worker:
    """One of them, through all its lives."""

    def __init__(self, number: int, host: str, port: int) -> None:
        self.number = number
        self.restarts = 0
        self.is_open = False
        self.was_open = False
        self._host = ANY_ADDRESS.get(host, host)
        self._port = port

    async def live(self) -> int:
        """Run a process until it ends, and return its exit code; minus the signal's number when one killed it.

        Cancelled, it tells the process to stop and waits for it.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *sys.orig_argv[1:],
                    stdin=theirs.fileno(),
                    env={**os.environ, "FLOTILLA_WORKER": str(self.number)},
                )
            ours.setblocking(False)
            hearing = asyncio.create_task(self._hear(ours))
            try:
                return await process.wait()
            except asyncio.CancelledError:
                await _stop(process, self.number)
                raise
            finally:
                hearing.cancel()

    async def _hear(self, ours: socket.socket) -> None:
        if await asyncio.get_running_loop().sock_recv(ours, len(OPEN)) == OPEN:
            self.is_open = self.was_open = True

    async def readiness(self) -> str | None:
        """Say why it is not ready."""
        return await self._ask("/readyz") if self.is_open else "its ports are not open"

    async def liveness(self) -> str | None:
        """Say why it is not alive though it should be: one that has ended is started again anyway."""
        return await self._ask("/healthz") if self.is_open else None

    async def _ask(self, path: str) -> str | None:
        return await why_not(self._host, self._port, path) if self._port else None


class Workers(Collector):
    """All of them, and their numbers as metrics."""

    def __init__(self, settings: Settings) -> None:
        numbers = range(1, settings.workers + 1)
        self._workers = [Worker(n, settings.health_host, settings.health_port_of(n)) for n in numbers]
        self.exit_code = 0
        """With which the parent ends: not 0 once WorkerCannotStart was raised."""

    def start(self, tasks: asyncio.TaskGroup, health: Health) -> None:
        """Start and keep them as tasks of the group; cancelled, they all stop at once.

        The tasks raise WorkerCannotStart.
        """
        for worker in self._workers:
            name = f"worker {worker.number}"
            health.ready_checks[name] = worker.readiness
            health.live_checks[name] = worker.liveness
            tasks.create_task(self._keep(worker), name=name)

    async def _keep(self, worker: Worker) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            code = await worker.live()
            has_served, worker.is_open = worker.is_open, False
            if code and not has_served and not (worker.was_open and self._is_any_open()):
                self.exit_code = code if code > 0 else SIGNALLED - code
                raise WorkerCannotStart(f"worker {worker.number} ended with {code} before its ports were open")
            if time.monotonic() - began >= CALM_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.warning("worker ended and is started again", number=worker.number, code=code, in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            worker.restarts += 1

    def _is_any_open(self) -> bool:
        return any(worker.is_open for worker in self._workers)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        restarts = CounterMetricFamily(
            "flotilla_gateway_worker_restarts", "Workers that ended and were started again", labels=["worker"]
        )
        is_open = GaugeMetricFamily("flotilla_gateway_worker_open", "Whether its ports are open", labels=["worker"])
        for worker in self._workers:
            restarts.add_metric([str(worker.number)], worker.restarts)
            is_open.add_metric([str(worker.number)], worker.is_open)
        yield from (restarts, is_open)


async def why_not(host: str, port: int, path: str) -> str | None:
    """Ask a health port; None when all is well, else what it answers, or that it does not."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return f"its health port does not answer: {error}"
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    except OSError as error:
        return f"its health port broke off: {error}"
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return None if b" 200 " in head.split(b"\r\n")[0] else body.decode("utf-8", "replace")


async def _stop(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    ended = asyncio.create_task(process.wait())
    await asyncio.wait([ended], timeout=STOP_SECONDS)
    if not ended.done():
        log.error("worker does not stop and is killed", number=number)
        process.kill()
        await ended

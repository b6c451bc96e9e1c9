"""How a service runs: one task group, health from the first moment, a clean stop on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog

from flotilla_common import telemetry
from flotilla_common.bus.connection import Bus, BusClosed
from flotilla_common.http.health import Health, health_app, serve
from flotilla_common.settings import CommonSettings

log = structlog.get_logger()

Main = Callable[[asyncio.TaskGroup, Health], Awaitable[None]]
"""Opens connections, adds checks and starts tasks in the group; returns when everything has started."""


class _StopRequested(Exception):
    """Ends the task group from inside."""


def run(service: str, settings: CommonSettings, main: Main) -> None:
    """Run a service until it is told to stop, or one of its tasks fails (then the process fails: it is restarted)."""
    telemetry.set_up(service, settings)
    reason = ""
    try:
        asyncio.run(_run(service, settings, main))
    except* _StopRequested:
        log.info("stopped")
    except* BusClosed as closed:
        reason = _message_of(closed)
    if reason:
        log.critical("the process ends", error=reason)
        sys.exit(1)


def live_with(bus: Bus, tasks: asyncio.TaskGroup, health: Health) -> None:
    """Tie the process to its connection: ready while the bus is heard, ended when the bus has closed it for good."""
    health.ready_checks["bus"] = bus.check
    tasks.create_task(bus.heartbeat(), name="heartbeat")
    tasks.create_task(bus.until_closed(), name="bus")


def _message_of(error: BaseException) -> str:
    return _message_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else str(error)


async def _run(service: str, settings: CommonSettings, main: Main) -> None:
    health = Health()
    started = asyncio.Event()

    async def has_started() -> str | None:
        return None if started.is_set() else "starting"

    health.ready_checks["started"] = has_started
    stop = _stop_signals()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_wait_for_stop(stop), name="stop")
        tasks.create_task(serve(health_app(health), settings.health_host, settings.health_port), name="health")
        await main(tasks, health)
        started.set()
        log.info("started", service=service)


async def _wait_for_stop(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _StopRequested


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop

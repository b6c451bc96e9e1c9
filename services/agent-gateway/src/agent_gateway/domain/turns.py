"""A bounded queue before another service: a storm of hosts waits here and not in Postgres, and polls go by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from flotilla_common.errors import Unavailable

from agent_gateway.domain.counters import Counters

T = TypeVar("T")


@dataclass(frozen=True)
class TurnLimits:
    """How many ask at once, how many wait for how long, and how long each is waited for altogether."""

    at_once: int
    queue: int
    queue_seconds: float
    patience_seconds: float


class Turns:
    """Asks for one host after the other, some at once. `what` they do stands in errors."""

    def __init__(self, limits: TurnLimits, counters: Counters, what: str) -> None:
        self.limits = limits
        self._counters = counters
        self._what = what
        self._slots = asyncio.Semaphore(limits.at_once)
        self.queued = 0

    async def take(self, kind: str, ask: Callable[[float], Awaitable[T]]) -> T:
        """Ask once it is this host's turn; `ask` is told how many seconds that took.

        Raises:
            Unavailable: too many at once, the answer takes too long, or what `ask` raises.

        """
        came_at = time.monotonic()
        try:
            async with asyncio.timeout(self.limits.patience_seconds):
                return await self._ask_in_turn(kind, ask, came_at)
        except TimeoutError:
            raise Unavailable(f"to {self._what} takes too long") from None

    async def _ask_in_turn(self, kind: str, ask: Callable[[float], Awaitable[T]], came_at: float) -> T:
        await self._wait_for_slot()
        try:
            self._counters.backend_operations[kind] += 1
            return await ask(time.monotonic() - came_at)
        finally:
            self._slots.release()

    async def _wait_for_slot(self) -> None:
        if self.queued >= self.limits.queue:
            raise Unavailable(f"too many hosts {self._what} at once")
        self.queued += 1
        try:
            async with asyncio.timeout(self.limits.queue_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable(f"too many hosts {self._what} at once") from None
        finally:
            self.queued -= 1

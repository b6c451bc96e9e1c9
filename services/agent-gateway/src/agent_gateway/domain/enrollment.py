"""Enroll hosts: a bounded queue before inventory, so that a storm of them waits here and not in Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flotilla_common.contracts.hosts import EnrolledV1, EnrollHostV1
from flotilla_common.errors import Unavailable

from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import HostCache

AT_ONCE = 32
QUEUE_LIMIT = 4096  # some KB each; a storm of thousands waits, and polls, which ask nobody, go by
QUEUE_SECONDS = 10.0  # inventory refuses what was asked 12 s ago
PATIENCE_SECONDS = 15.0  # osqueryd gives up after 16 s

T = TypeVar("T")
Ask = Callable[[EnrollHostV1], Awaitable[EnrolledV1]]


class Enrollments:
    """Asks inventory and makes the new key usable at once."""

    def __init__(self, hosts: HostCache, ask: Ask, counters: Counters) -> None:
        self._hosts = hosts
        self._ask = ask
        self._counters = counters
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._queued = 0

    async def enroll(self, request: EnrollHostV1) -> str:
        """Return the host's new node key. It is in the cache already: the host's next request comes in milliseconds.

        Raises:
            BadEnrollSecret: the secret is unknown or retired, or (subclasses) does not let this host in.
            IdentityHeld: another machine has this identity.
            Unavailable: inventory does not answer, or too many hosts enroll at once.

        """
        enrolled = await self.in_turn(
            "enroll_host", lambda waited: self._ask(request.model_copy(update={"waited_seconds": waited}))
        )
        self._hosts.put(enrolled.host)
        return enrolled.node_key.get_secret_value()

    async def in_turn(self, kind: str, ask: Callable[[float], Awaitable[T]]) -> T:
        """Ask once it is this enroll's turn; `ask` is told how many seconds that took.

        Raises:
            Unavailable: too many hosts enroll at once, the answer takes too long, or what `ask` raises.

        """
        came_at = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._ask_in_turn(kind, ask, came_at)
        except TimeoutError:
            raise Unavailable("inventory takes too long") from None

    async def _ask_in_turn(self, kind: str, ask: Callable[[float], Awaitable[T]], came_at: float) -> T:
        await self._wait_for_slot()
        try:
            self._counters.backend_operations[kind] += 1
            return await ask(time.monotonic() - came_at)
        finally:
            self._slots.release()

    async def _wait_for_slot(self) -> None:
        if self._queued >= QUEUE_LIMIT:
            raise Unavailable("too many hosts enroll at once")
        self._queued += 1
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable("too many hosts enroll at once") from None
        finally:
            self._queued -= 1

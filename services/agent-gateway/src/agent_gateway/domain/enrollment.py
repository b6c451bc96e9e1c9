"""Enroll hosts: a bounded queue before inventory, so that a storm of them waits here and not in Postgres."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flotilla_common.contracts.hosts import BadEnrollSecret, EnrolledV1, EnrollHostV1
from flotilla_common.errors import Unavailable
from pydantic import SecretStr

from agent_gateway.domain.counters import Counters
from agent_gateway.domain.enroll_secrets import EnrollSecrets
from agent_gateway.domain.hosts import HostCache
from agent_gateway.domain.slots import Slots
from agent_gateway.errors import TooMuch

AT_ONCE = 32
QUEUE_LIMIT = 4096  # some KB each; a storm of thousands waits, and polls, which ask nobody, go by
LANE_LIMIT = 3072  # of them with one secret
QUEUE_SECONDS = 10.0  # inventory refuses what was asked 12 s ago
PATIENCE_SECONDS = 13.0  # osqueryd gives up after 16 s, 3 of which are for connection and body

T = TypeVar("T")
Ask = Callable[[EnrollHostV1], Awaitable[EnrolledV1]]


class Enrollments:
    """Asks inventory and makes the new key usable at once.

    Each secret that has let a host in waits in a lane of its own, all others share one: neither the storm of one team
    nor a flood of made-up secrets holds up everybody else.
    """

    def __init__(self, hosts: HostCache, ask: Ask, counters: Counters) -> None:
        self._hosts = hosts
        self._ask = ask
        self._counters = counters
        self._slots = Slots(AT_ONCE, queue=QUEUE_LIMIT, lane=LANE_LIMIT)
        self._secrets = EnrollSecrets()
        self._is_cautious = False

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._slots.waiting

    @property
    def is_full(self) -> bool:
        """Whether nobody more may wait."""
        return self._slots.is_full

    def cautious(self) -> Enrollments:
        """Return these for somebody who showed too many bad secrets: inventory is asked about proven ones alone."""
        found = copy.copy(self)
        found._is_cautious = True
        return found

    async def enroll(self, request: EnrollHostV1) -> str:
        """Return the host's new node key. It is in the cache already: the host's next request comes in milliseconds.

        Raises:
            BadEnrollSecret: the secret is unknown or retired, or (subclasses) does not let this host in.
            IdentityHeld: another machine has this identity.
            Unavailable: inventory does not answer, or too many hosts enroll at once; TooMuch: this one is not let in.

        """
        enrolled = await self.in_turn(
            "enroll_host",
            request.enroll_secret,
            lambda waited: self._ask(request.model_copy(update={"waited_seconds": waited})),
        )
        self._hosts.put(enrolled.host)
        return enrolled.node_key.get_secret_value()

    async def in_turn(self, kind: str, secret: SecretStr, ask: Callable[[float], Awaitable[T]]) -> T:
        """Ask once it is this enroll's turn; `ask` is told how many seconds that took.

        Raises:
            BadEnrollSecret: inventory said so, now or a moment ago.
            Unavailable: too many hosts enroll at once, the answer takes too long, or what `ask` raises.

        """
        name = self._secrets.name_of(secret)
        self._secrets.check(name)
        is_proven = self._secrets.is_proven(name)
        if self._is_cautious and not is_proven:
            raise TooMuch("too many bad secrets came from there")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await self._ask_in_turn(kind, name if is_proven else None, ask)
        except TimeoutError:
            raise Unavailable("inventory takes too long") from None
        except BadEnrollSecret as error:
            self._secrets.refused(name, error)
            raise
        self._secrets.let_in(name)
        return found

    async def _ask_in_turn(self, kind: str, lane: bytes | None, ask: Callable[[float], Awaitable[T]]) -> T:
        came_at = time.monotonic()
        async with self._slots.slot(lane, QUEUE_SECONDS):
            self._counters.backend_operations[kind] += 1
            return await ask(time.monotonic() - came_at)

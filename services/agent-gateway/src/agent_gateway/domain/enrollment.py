"""Enroll hosts: in turn, and so that a new key is usable at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flotilla_common.contracts.hosts import EnrolledV1, EnrollHostV1

from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import HostCache
from agent_gateway.domain.turns import TurnLimits, Turns

LIMITS = TurnLimits(
    at_once=32,
    queue=4096,  # some KB each; a storm of thousands waits
    queue_seconds=10.0,  # inventory refuses what was asked 12 s ago
    patience_seconds=15.0,  # osqueryd gives up after 16 s
)

Ask = Callable[[EnrollHostV1], Awaitable[EnrolledV1]]


class Enrollments:
    """Asks inventory and makes the new key usable at once. `turns` are of osqueryd's and orbit's enrolls together."""

    def __init__(self, hosts: HostCache, ask: Ask, counters: Counters) -> None:
        self._hosts = hosts
        self._ask = ask
        self.turns = Turns(LIMITS, counters, "enroll")

    async def enroll(self, request: EnrollHostV1) -> str:
        """Return the host's new node key. It is in the cache already: the host's next request comes in milliseconds.

        Raises:
            BadEnrollSecret: the secret is unknown or retired, or (subclasses) does not let this host in.
            IdentityHeld: another machine has this identity.
            Unavailable: inventory does not answer, or too many hosts enroll at once.

        """
        enrolled = await self.turns.take(
            "enroll_host", lambda waited: self._ask(request.model_copy(update={"waited_seconds": waited}))
        )
        self._hosts.put(enrolled.host)
        return enrolled.node_key.get_secret_value()

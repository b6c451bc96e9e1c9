"""Orbit's side of a host: its own key, in a cache of its own, kept true by the same records.

The device token that orbit set dies with its key: it is forgotten by the record that tells of another one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from flotilla_common.contracts.hosts import HostRecord, NodeKeysResolvedV1, ResolveNodeKeysV1, ResolveOrbitKeysV1

from agent_gateway.domain.device_tokens import DeviceTokens
from agent_gateway.domain.hosts import HostCache

Ask = Callable[[ResolveOrbitKeysV1], Awaitable[NodeKeysResolvedV1]]


class OrbitHosts(HostCache):
    """Hash of an orbit key -> host. An orbit key opens nothing of osqueryd's, nor a node key anything here."""

    def __init__(self, tokens: DeviceTokens, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._tokens = tokens

    def put(self, record: HostRecord, *, as_of: int = 0, generation: int | None = None) -> None:
        """Take a record by its orbit key."""
        super().put(by_orbit_key(record), as_of=as_of, generation=generation)
        self._tokens.heed(record)

    def delete(self, record: HostRecord) -> None:
        """Bury a host and its orbit key."""
        super().delete(by_orbit_key(record))
        self._tokens.heed(record.model_copy(update={"orbit_key_hash": None}))


def by_orbit_key(record: HostRecord) -> HostRecord:
    """Return a record whose key is the orbit key."""
    return record.model_copy(update={"node_key_hash": record.orbit_key_hash})


def asking_for_orbit(ask: Ask) -> Callable[[ResolveNodeKeysV1], Awaitable[NodeKeysResolvedV1]]:
    """Return what a KeyResolver asks with, when its keys are orbit's."""

    async def ask_for_orbit(request: ResolveNodeKeysV1) -> NodeKeysResolvedV1:
        answer = await ask(ResolveOrbitKeysV1(key_hashes=request.key_hashes))
        return answer.model_copy(update={"hosts": tuple(map(by_orbit_key, answer.hosts))})

    return ask_for_orbit

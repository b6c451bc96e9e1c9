"""All state of one gateway process, for the handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flotilla_common.contracts.device_tokens import hash_device_token
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.errors import Denied, Unavailable

from agent_gateway.domain.answers import Answers
from agent_gateway.domain.bodies import Memory
from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.carves import Carves
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.enrollment import Enrollments
from agent_gateway.domain.hosts import Host, HostCache
from agent_gateway.domain.keys import KeyResolver, one_key
from agent_gateway.domain.large_bodies import LargeBodies
from agent_gateway.domain.logs import LogIntake
from agent_gateway.domain.orbit import Orbit
from agent_gateway.domain.plans import Plans
from agent_gateway.domain.query_results import QueryResults
from agent_gateway.domain.query_sets import QuerySets
from agent_gateway.domain.seen import SeenHosts
from agent_gateway.domain.starts import Starts
from agent_gateway.errors import BadDeviceToken, MissingOrbitNodeKey, UnknownNodeKey, UnknownOrbitNodeKey

SILENCE_LIMIT_SECONDS = 60.0


@dataclass
class Gateway:
    """What every handler is given. `silence` = seconds since the bus was last heard; `now` = Unix time."""

    hosts: HostCache
    keys: KeyResolver
    plans: Plans
    campaigns: Campaigns
    starts: Starts
    answers: Answers
    query_sets: QuerySets
    query_results: QueryResults
    logs: LogIntake
    enrollments: Enrollments
    carves: Carves
    orbit: Orbit
    seen: SeenHosts
    counters: Counters
    silence: Callable[[], float]
    now: Callable[[], float]
    memory: Memory = field(default_factory=Memory)
    large: LargeBodies = field(default_factory=LargeBodies)

    async def host_of(self, body_key: str | None, header_key: str | None) -> Host:
        """Authenticate a request. Nobody is told that a key is invalid by a gateway that hears nothing.

        Raises:
            MissingNodeKey, NodeKeysDiffer, UnknownNodeKey, Unavailable.

        """
        try:
            host = await self.keys.host_of(one_key(body_key, header_key))
        except Denied:
            self.check_bus()
            raise
        self.seen.add(host.host_id)
        return host

    async def orbit_host_of(self, orbit_node_key: str | None) -> Host:
        """Authenticate orbit. By that its host is not seen: one whose osqueryd is dead goes offline.

        Raises:
            MissingOrbitNodeKey, UnknownOrbitNodeKey, Unavailable.

        """
        self.check_bus()
        if not orbit_node_key:
            raise MissingOrbitNodeKey
        try:
            return await self.orbit.keys.host_of(orbit_node_key)
        except UnknownNodeKey:
            self.check_bus()
            raise UnknownOrbitNodeKey from None

    async def device_host_of(self, token: str) -> Host:
        """Authenticate a desktop. Nobody is asked about a token that is not good.

        Raises:
            BadDeviceToken, Unavailable.

        """
        self.check_bus()
        if self.orbit.tokens.silence() > SILENCE_LIMIT_SECONDS:
            raise Unavailable("news of device tokens are missing")
        good = self.orbit.tokens.find(hash_device_token(token))
        if good is None:
            raise BadDeviceToken
        try:
            return await self.orbit.keys.host_of_hash(good.orbit_key_hash)
        except UnknownNodeKey:
            self.check_bus()
            self.orbit.tokens.drop(good)
            raise BadDeviceToken from None

    def known_host(self, body_key: str | None, header_key: str | None) -> Host | None:
        """Return the host that may be served at once, None when anything about the request must be looked into."""
        key = body_key or header_key
        if not key or (header_key is not None and header_key != key):
            return None
        return self.hosts.find(hash_node_key(key))

    def is_deaf(self) -> bool:
        """Whether revocations may have been missed for so long that nothing may be handed out."""
        return self.silence() > SILENCE_LIMIT_SECONDS

    def check_bus(self) -> None:
        """Refuse when the bus is silent.

        Raises:
            Unavailable: it has been for a minute.

        """
        if self.is_deaf():
            raise Unavailable("the bus is silent")

    def log_refusal(self) -> Unavailable | None:
        """Return why log lines would be refused now: their bodies need not be kept. None when they are taken."""
        return Unavailable("the bus is silent") if self.is_deaf() else self.logs.refusal()

    async def close(self) -> None:
        """Bring what is in hand to its end, then stop."""
        await self.logs.close()
        await self.keys.close()
        await self.orbit.close()
        await self.plans.close()

"""All state of one gateway process, for the handlers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec
from flotilla_common.contracts.device_tokens import hash_device_token
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.deadlines import Deadlines
from flotilla_common.errors import Denied, FleetError, Unavailable

from agent_gateway.domain.admission import Admission
from agent_gateway.domain.answers import Answers
from agent_gateway.domain.bodies import Memory
from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.carves import Carves
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.enrollment import Enrollments
from agent_gateway.domain.hosts import Host, HostCache
from agent_gateway.domain.json_bodies import complaint, parse, parse_plain
from agent_gateway.domain.keys import KeyResolver, one_key
from agent_gateway.domain.large_bodies import INLINE_LIMIT, LargeBodies, claimed_key
from agent_gateway.domain.logs import LogIntake
from agent_gateway.domain.orbit import Orbit
from agent_gateway.domain.patience import BODY_SECONDS
from agent_gateway.domain.plans import Plans
from agent_gateway.domain.query_results import QueryResults
from agent_gateway.domain.query_sets import QuerySets
from agent_gateway.domain.request_classes import RequestClass
from agent_gateway.domain.seen import SeenHosts
from agent_gateway.domain.starts import Starts
from agent_gateway.errors import (
    BadDeviceToken,
    Malformed,
    MissingOrbitNodeKey,
    TooMuch,
    UnknownNodeKey,
    UnknownOrbitNodeKey,
)

T = TypeVar("T")

SILENCE_LIMIT_SECONDS = 60.0
STRANGERS_WAITING = 64  # bodies
MENDED_FOR_STRANGERS = 256 * 1024  # bytes: an enroll or a poll
ODD_WEIGHT = 8  # a byte that is to be mended, in bytes of what a host may send
OPEN_FOR_SECONDS = 0.001
KEEP_NOTHING_WHEN_DEAF = frozenset[RequestClass](("log", "write", "enroll", "carve"))


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
    admission: Admission
    silence: Callable[[], float]
    now: Callable[[], float]
    memory: Memory
    large: LargeBodies = field(default_factory=LargeBodies)
    strangers: LargeBodies = field(default_factory=lambda: LargeBodies(STRANGERS_WAITING))
    carve_bodies: LargeBodies = field(default_factory=LargeBodies)
    large_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_cautious: bool = False
    body_seconds: float = BODY_SECONDS
    slow_bodies: Deadlines = field(init=False)
    _open_until: dict[RequestClass, float] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.slow_bodies = Deadlines(lambda: self.body_seconds)

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

    async def read(
        self,
        request_class: RequestClass,
        body: bytes,
        header_key: str | None,
        plain: Callable[[], T | None],
        odd: Callable[[], T],
    ) -> T:
        """Return what a body of a host says: by `plain`, or by `odd` when that returns None.

        A large body that claims no known key has another thread than those of known hosts. What is odd is mended only
        for whom the key that it claims is proved, and weighs as what takes seconds to read.

        Raises:
            Malformed: by what the two raise, and an odd body that claims no key.
            UnknownNodeKey, Unavailable, TooMuch: an odd body, as `host_of` says, and
            when its host has had its share.

        """
        claimed = claimed_key(body)
        is_known = len(body) <= INLINE_LIMIT or self.known_host(claimed, header_key) is not None
        found = await (self.large if is_known else self.strangers).run(len(body), plain)
        if found is None:
            if claimed is None and header_key is None:
                raise Malformed("not valid JSON")
            self.check_bus()
            host = await self.host_of(None if header_key else claimed, header_key)
            self.admission.take_bytes(request_class, host.host_id, ODD_WEIGHT * len(body))
            found = await self.large.run_beside(odd)
        return found

    async def read_small(self, decoder: msgspec.json.Decoder[T], body: bytes) -> T:
        """Return what a body says whose sender can not be told yet; an odd one is mended beside the event loop.

        Raises:
            Malformed: it is no JSON object of this shape, or odd and large, or of an address that failed too often.
            Unavailable: too many such bodies wait.

        """
        found = parse_plain(decoder, body)
        if found is None and (len(body) > MENDED_FOR_STRANGERS or self.is_cautious):
            raise complaint(decoder, body)
        return await self.strangers.run_beside(lambda: parse(decoder, body)) if found is None else found

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

    def refusal(self, request_class: RequestClass, header_key: str | None = None) -> FleetError | None:
        """Return why requests of a class are refused now: their bodies need not be kept. None when they are let in.

        With `header_key` a host that has had its share is told so as early as that.
        """
        if request_class in KEEP_NOTHING_WHEN_DEAF and self.is_deaf():
            return self._refused(request_class, "silence")
        reason = self.admission.reason(request_class)
        if reason is not None:
            return self._refused(request_class, reason)
        if request_class == "enroll" and self.enrollments.is_full:
            return self._refused(request_class, "queue")
        if header_key is not None and self.admission.any_spent(request_class):
            host = self.hosts.find(hash_node_key(header_key))
            if host is not None and self.admission.is_spent(request_class, host.host_id):
                self.admission.refused[request_class, "host"] += 1
                return TooMuch("this host has had its share")
        return None

    def is_closed(self, request_class: RequestClass) -> bool:
        """Whether requests of a class are refused, but for those that try. Changes nothing."""
        return (request_class in KEEP_NOTHING_WHEN_DEAF and self.is_deaf()) or self.admission.is_closed(request_class)

    def lets_in_at_once(self, request_class: RequestClass, limit: int, size: int) -> bool:
        """Whether a body that is here need not be looked at any further: nothing is short, nobody has had his share."""
        return size <= limit and self.memory.has_room_for(limit, size) and self._is_open(request_class)

    def _is_open(self, request_class: RequestClass) -> bool:
        """Whether a class is. What was found open stays so for OPEN_FOR_SECONDS: many requests come at once."""
        now = time.monotonic()
        if now < self._open_until.get(request_class, 0.0):
            return True
        if self.is_closed(request_class) or self.admission.any_spent(request_class):
            return False
        self._open_until[request_class] = now + OPEN_FOR_SECONDS
        return True

    def _refused(self, request_class: RequestClass, reason: str) -> Unavailable:
        self.admission.refused[request_class, reason] += 1
        return Unavailable(f"{request_class}: {reason}")

    def cautious(self) -> Gateway:
        """Return this gateway for an address that failed too often: nobody is asked about what nobody has proven.

        All state is the same: who is known is served as ever.
        """
        orbit = replace(self.orbit, keys=self.orbit.keys.cautious())
        return replace(
            self, keys=self.keys.cautious(), enrollments=self.enrollments.cautious(), orbit=orbit, is_cautious=True
        )

    async def close(self) -> None:
        """Bring what is in hand to its end, then stop."""
        await asyncio.gather(self.logs.close(), self.answers.close(), self.query_results.close())
        await self.keys.close()
        await self.orbit.close()
        await self.plans.close()

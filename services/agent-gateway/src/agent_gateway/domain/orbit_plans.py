"""What orbit and the desktop of a class get: bytes by their hash, shared by all classes that get the same."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec
from flotilla_common.contracts.plans import orbit_key
from flotilla_common.errors import Unavailable

from agent_gateway.domain.class_bytes import ClassBytes, Fetch, fetched
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.plans import Plans


class _Stored(msgspec.Struct):
    config: msgspec.Raw
    desktop: msgspec.Raw
    transparency_url: str


_decoder = msgspec.json.Decoder(_Stored)


@dataclass(frozen=True)
class OrbitPlan:
    """Answers ready to be sent: to `orbit/config`, to the device API's `desktop`, and where `transparency` leads."""

    sha256: str
    config: bytes
    desktop: bytes
    transparency_url: str


class OrbitPlans:
    """Class key -> OrbitPlan. The heads are those of `Plans`."""

    def __init__(self, plans: Plans, fetch: Fetch, counters: Counters) -> None:
        self._plans = plans
        self._fetch = fetch
        self._counters = counters
        self._bytes = ClassBytes(self._load)
        self._by_hash: WeakValueDictionary[str, OrbitPlan] = WeakValueDictionary()

    def find(self, class_key: str) -> OrbitPlan | None:
        """Return the newest plan if its bytes are here."""
        head, plan = self._plans.head_of(class_key), self._bytes.ready.get(class_key)
        return plan if plan is not None and head is not None and plan.sha256 == head.orbit_sha256 else None

    async def plan_of(self, host: Host) -> OrbitPlan:
        """Return the newest plan of the host's class, or the one before while the newest cannot be had.

        Raises:
            Unavailable: there is none yet, and it cannot be had now.

        """
        return self.find(host.class_key) or await self._bytes.load(host)

    async def _load(self, host: Host) -> OrbitPlan:
        head = await self._plans.newest_head(host)
        if not head.orbit_sha256:
            raise Unavailable("config-merger has made nothing for orbit yet")
        plan = self._by_hash.get(head.orbit_sha256) or await self._fetched(head.orbit_sha256)
        self._by_hash[plan.sha256] = plan
        return plan

    async def _fetched(self, sha256: str) -> OrbitPlan:
        self._counters.backend_operations["get_orbit_plan"] += 1
        try:
            stored = _decoder.decode(await fetched(self._fetch, orbit_key(sha256), sha256))
        except msgspec.DecodeError as error:
            raise Unavailable(f"what orbit gets makes no sense: {error}") from error
        return OrbitPlan(sha256, bytes(stored.config), bytes(stored.desktop), stored.transparency_url)

    def drop(self, class_key: str) -> None:
        """Forget a class whose head was deleted."""
        self._bytes.drop(class_key)

    async def close(self) -> None:
        """Cancel what is on its way."""
        await self._bytes.close()

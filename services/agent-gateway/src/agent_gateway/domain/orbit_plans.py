"""What orbit and the desktop of a class get: bytes by their hash, shared by all classes that get the same."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec
from flotilla_common.contracts.plans import orbit_key
from flotilla_common.errors import Unavailable

from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.patience import PLAN_SECONDS, patience
from agent_gateway.domain.plans import Plans

Fetch = Callable[[str], Awaitable[bytes | None]]


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
        self._served: dict[str, OrbitPlan] = {}
        self._by_hash: WeakValueDictionary[str, OrbitPlan] = WeakValueDictionary()
        self._loading: dict[str, asyncio.Task[OrbitPlan]] = {}

    def find(self, class_key: str) -> OrbitPlan | None:
        """Return the newest plan if its bytes are here."""
        head, plan = self._plans.head_of(class_key), self._served.get(class_key)
        return plan if plan is not None and head is not None and plan.sha256 == head.orbit_sha256 else None

    async def plan_of(self, host: Host) -> OrbitPlan:
        """Return the newest plan of the host's class, or the one before while the newest cannot be had.

        Raises:
            Unavailable: there is none yet, and it cannot be had now.

        """
        plan = self.find(host.class_key)
        if plan is not None:
            return plan
        task = self._loading.get(host.class_key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(host))
            self._loading[host.class_key] = task
            task.add_done_callback(lambda done: self._loaded(host.class_key, done))
        try:
            async with patience(PLAN_SECONDS, "making a plan"):
                return await asyncio.shield(task)
        except Unavailable:
            older = self._served.get(host.class_key)
            if older is None:
                raise
            return older

    async def _load(self, host: Host) -> OrbitPlan:
        head = await self._plans.newest_head(host)
        if not head.orbit_sha256:
            raise Unavailable("config-merger has made nothing for orbit yet")
        plan = self._by_hash.get(head.orbit_sha256) or await self._fetched(head.orbit_sha256)
        self._served[host.class_key] = self._by_hash[plan.sha256] = plan
        return plan

    async def _fetched(self, sha256: str) -> OrbitPlan:
        self._counters.backend_operations["get_orbit_plan"] += 1
        body = await self._fetch(orbit_key(sha256))
        if body is None or hashlib.sha256(body).hexdigest() != sha256:
            raise Unavailable("what orbit gets is not in the bucket")
        try:
            stored = _decoder.decode(body)
        except msgspec.DecodeError as error:
            raise Unavailable(f"what orbit gets makes no sense: {error}") from error
        return OrbitPlan(sha256, bytes(stored.config), bytes(stored.desktop), stored.transparency_url)

    def _loaded(self, class_key: str, task: asyncio.Task[OrbitPlan]) -> None:
        self._loading.pop(class_key, None)
        if not task.cancelled():
            task.exception()  # retrieved even if every waiter has left

    async def close(self) -> None:
        """Cancel what is on its way."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

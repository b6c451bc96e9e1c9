"""What hosts of a class get: fetched once for all of them, and the one before while the newest cannot be had."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from flotilla_common.errors import FleetError, Unavailable

from agent_gateway.domain.hosts import Host
from agent_gateway.domain.patience import PLAN_SECONDS, patience

T = TypeVar("T")
Fetch = Callable[[str], Awaitable[bytes | None]]
"""Reads a key of bucket PLANS; None when it is not there."""


class ClassBytes(Generic[T]):
    """Class key -> what is ready to be sent to its hosts. `load` gets the newest for a host of the class.

    Which of them is the newest is for the owner to say: a class is loaded when its owner asks for it.
    """

    def __init__(self, load: Callable[[Host], Awaitable[T]]) -> None:
        self._load = load
        self._loading: dict[str, asyncio.Task[T]] = {}
        self.ready: dict[str, T] = {}
        """What was loaded last."""

    async def load(self, host: Host) -> T:
        """Return the newest for the host's class, or what was loaded last while the newest cannot be had.

        All hosts that ask while it is on its way wait for the same.

        Raises:
            Unavailable: nothing was loaded before, and it takes too long; or whatever else kept it from being loaded.

        """
        task = self._loading.get(host.class_key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load_and_keep(host))
            self._loading[host.class_key] = task
            task.add_done_callback(lambda done: self._loaded(host.class_key, done))
        try:
            async with patience(PLAN_SECONDS, "making a plan"):
                return await asyncio.shield(task)
        except FleetError:
            older = self.ready.get(host.class_key)
            if older is None:
                raise
            return older

    async def _load_and_keep(self, host: Host) -> T:
        loaded = await self._load(host)
        self.ready[host.class_key] = loaded
        return loaded

    def _loaded(self, class_key: str, task: asyncio.Task[T]) -> None:
        self._loading.pop(class_key, None)
        if not task.cancelled():
            task.exception()  # retrieved even if every waiter has left

    def drop(self, class_key: str) -> None:
        """Forget what a class got."""
        self.ready.pop(class_key, None)

    async def close(self) -> None:
        """Cancel what is on its way."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def fetched(fetch: Fetch, key: str, sha256: str) -> bytes:
    """Return the bytes under a key.

    Raises:
        Unavailable: they are not there, or not those with this hash.

    """
    body = await fetch(key)
    if body is None or hashlib.sha256(body).hexdigest() != sha256:
        raise Unavailable(f"what belongs under {key} is not in the bucket")
    return body

"""From a node key to its host: memory first, then one batched question to inventory for all who wait."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable

from flotilla_common.contracts.hosts import NodeKeysResolvedV1, ResolveNodeKeysV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.errors import FleetError, Unavailable

from agent_gateway.domain.circuits import Circuit
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host, HostCache
from agent_gateway.domain.patience import RESOLVE_SECONDS, patience
from agent_gateway.errors import MissingNodeKey, NodeKeysDiffer, TooMuch, UnknownNodeKey

BATCH = 1000
BATCHES_AT_ONCE = 4
WAITING_LIMIT = 100_000  # keys; further ones are not asked about

Ask = Callable[[ResolveNodeKeysV1], Awaitable[NodeKeysResolvedV1]]


def one_key(in_body: str | None, in_header: str | None) -> str:
    """Return the node key of a request.

    Raises:
        MissingNodeKey: neither place has one.
        NodeKeysDiffer: both have one, and not the same.

    """
    if in_body and in_header and in_body != in_header:
        raise NodeKeysDiffer
    key = in_body or in_header
    if not key:
        raise MissingNodeKey
    return key


class KeyResolver:
    """Finds hosts by key. Keys asked for while a batch is on its way wait for the next one together.

    While inventory does not answer, hosts known before are served as they were known, and about others one question a
    second is asked. `kind` is the name under which questions are counted, `name` says in the log whose keys these are.
    """

    def __init__(
        self,
        hosts: HostCache,
        ask: Ask,
        counters: Counters,
        name: str = "inventory, about node keys",
        *,
        kind: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hosts = hosts
        self._ask = ask
        self._counters = counters
        self._kind = kind
        self.circuit = Circuit(name, clock=clock)
        self._is_cautious = False
        self._waiting: dict[bytes, asyncio.Future[Host | None]] = {}
        self._queue: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def host_of(self, node_key: str) -> Host:
        """Return the host that has this key.

        Raises:
            UnknownNodeKey: positively no host has it, as of a moment ago.
            Unavailable: inventory cannot be asked, and the host was not known before; TooMuch: it is not asked.

        """
        return await self.host_of_hash(hash_node_key(node_key))

    async def host_of_hash(self, key_hash: bytes) -> Host:
        """Return the host whose key has this hash; raises as `host_of` does."""
        host = self._hosts.find(key_hash)
        if host is None:
            if self._hosts.is_known_unknown(key_hash):
                raise UnknownNodeKey
            host = await self._resolve(key_hash)
        return host

    def cautious(self) -> KeyResolver:
        """Return this resolver for somebody who showed too many unknown keys: it asks about keys that were known."""
        found = copy.copy(self)
        found._is_cautious = True
        return found

    async def _resolve(self, key_hash: bytes) -> Host:
        self._check_share(key_hash)
        try:
            self.circuit.check()
            async with patience(RESOLVE_SECONDS, "resolving a key"):
                host = await asyncio.shield(self._future(key_hash))
        except Unavailable:
            host = self._hosts.find_even_stale(key_hash)  # known hosts are served while inventory is down
            if host is None:
                raise
        if host is None:
            raise UnknownNodeKey
        return host

    def _check_share(self, key_hash: bytes) -> None:
        """Refuse to ask. Nobody is served as he was known for that: the key may have been revoked meanwhile."""
        if self._is_cautious and self._hosts.find_even_stale(key_hash) is None:
            raise TooMuch("too many unknown keys came from there")
        if len(self._waiting) >= WAITING_LIMIT and key_hash not in self._waiting:
            raise TooMuch("too many keys are asked about")

    def _future(self, key_hash: bytes) -> asyncio.Future[Host | None]:
        future = self._waiting.get(key_hash)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            # Retrieve the exception even if every waiter has left.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._waiting[key_hash] = future
            self._queue.append(key_hash)
            self._start()
        return future

    def _start(self) -> None:
        if self._queue and len(self._tasks) < BATCHES_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start()

    async def _run(self) -> None:
        """Ask for one batch. What the cache held when the question was asked decides what a "no" may remove."""
        batch = self._queue[:BATCH]
        del self._queue[:BATCH]  # in place: cautious resolvers share the list
        if not batch:
            return
        before = {key_hash: self._hosts.find_even_stale(key_hash) for key_hash in batch}
        scope, generation = self._hosts.scope_revision, self._hosts.generation
        self._counters.backend_operations[self._kind] += 1
        failure: FleetError = Unavailable("stopping")
        try:
            answer = await self._ask(ResolveNodeKeysV1(key_hashes=tuple(key_hash.hex() for key_hash in batch)))
            self.circuit.succeeded()
            self._take(batch, before, answer, scope, generation)
        except FleetError as error:
            failure = error
            self.circuit.learn(error)
        finally:
            self._fail(batch, failure)

    def _take(
        self,
        batch: list[bytes],
        before: dict[bytes, Host | None],
        answer: NodeKeysResolvedV1,
        scope: int,
        generation: int,
    ) -> None:
        for record in answer.hosts:
            self._hosts.put(record, as_of=max(answer.revision, scope), generation=generation)
        found = {record.node_key_hash for record in answer.hosts}
        for key_hash in batch:
            if key_hash.hex() not in found:
                self._hosts.deny(key_hash, before[key_hash])
            self._waiting.pop(key_hash).set_result(self._hosts.find_even_stale(key_hash))

    def _fail(self, batch: list[bytes], error: FleetError) -> None:
        """Tell those of the batch who have no answer yet."""
        failure = error if isinstance(error, Unavailable) else Unavailable(f"inventory: {error}")
        for future in (self._waiting.pop(key_hash) for key_hash in batch if key_hash in self._waiting):
            future.set_exception(failure)

    async def close(self) -> None:
        """Cancel what is on its way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

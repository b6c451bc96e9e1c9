"""Node keys and orbit keys, as whole gateways hold them: caches, the questions to inventory, the stream, failures.

Hosts enroll again, are moved and deleted, lose keys; the stream is late or lost, inventory slow or down. Whatever the
order: a key that was heard to be dead before a request came opens nothing, a key that was good all the while a request
lasted is never called invalid, and in the end each key opens what it should.

While inventory is down known hosts are served as they were known: a key that died in a part of the stream that was lost
is then served until inventory can be asked. Nobody knows that it is dead, and the whole fleet must not be locked out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from agent_gateway.consumers.on_hosts import take
from agent_gateway.domain.circuits import PROBE_SECONDS
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.device_tokens import DeviceTokens
from agent_gateway.domain.hosts import Host, HostCache
from agent_gateway.domain.keys import KeyResolver
from agent_gateway.domain.orbit_hosts import OrbitHosts, by_orbit_key
from agent_gateway.errors import UnknownNodeKey
from flotilla_common.contracts.base import Event
from flotilla_common.contracts.hosts import (
    HostChangedV1,
    HostDeletedV1,
    HostEnrolledV1,
    HostRecord,
    NodeKeysResolvedV1,
    ResolveNodeKeysV1,
    ScopeChangedV1,
)
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.errors import Unavailable
from hypothesis import example, given, settings
from hypothesis import strategies as st

HOSTS = 2
LATEST = 4  # of the keys that were issued: those that requests come with
KINDS = ("node", "orbit")


@dataclass
class Request:
    """A request on its way: the key, and what was known of it when it came."""

    key_hash: bytes
    task: asyncio.Task[Host]
    was_heard_dead: bool
    always_good: bool


@dataclass
class Agents:
    """All keys of one kind, a gateway's cache of them, and the questions that inventory has not answered yet."""

    kind: str
    cache: HostCache
    resolver: KeyResolver
    questions: list[tuple[ResolveNodeKeysV1, NodeKeysResolvedV1, asyncio.Future[NodeKeysResolvedV1]]]
    issued: list[bytes] = field(default_factory=list)
    heard_dead: set[bytes] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)


class World:
    """inventory's truth, the stream on its way, and one gateway."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.revision = 0
        self.issued = 0
        self.truth: dict[int, HostRecord] = {}
        self.ids = list(range(1, HOSTS + 1))  # a machine whose host was deleted enrolls as a new one: no id comes back
        self.stream: list[Event] = []
        self.agents = {kind: self._agents(kind) for kind in KINDS}

    def clock(self) -> float:
        return self.now

    def _agents(self, kind: str) -> Agents:
        cache = HostCache(self.clock) if kind == "node" else OrbitHosts(DeviceTokens(), self.clock)
        questions: list[tuple[ResolveNodeKeysV1, NodeKeysResolvedV1, asyncio.Future[NodeKeysResolvedV1]]] = []

        async def ask(request: ResolveNodeKeysV1) -> NodeKeysResolvedV1:
            good = self.good(kind)
            found = tuple(good[text] for text in request.key_hashes if text in good)
            answer = NodeKeysResolvedV1(hosts=found, revision=self.revision)
            future: asyncio.Future[NodeKeysResolvedV1] = asyncio.get_running_loop().create_future()
            questions.append((request, answer, future))
            return await future

        resolver = KeyResolver(cache, ask, Counters(), kind=f"resolve_{kind}_keys", clock=self.clock)  # type: ignore[arg-type]
        return Agents(kind, cache, resolver, questions)

    def good(self, kind: str) -> dict[str, HostRecord]:
        """Return the keys that are good now, as the cache of this kind sees their records."""
        records = self.truth.values() if kind == "node" else map(by_orbit_key, self.truth.values())
        return {record.node_key_hash: record for record in records if record.node_key_hash is not None}

    def next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def enroll(self, which: int) -> None:
        """Let an agent of a host enroll, for the first time or again; sometimes this gateway has the answer first."""
        host_id, kind = self.ids[which % HOSTS], KINDS[which // HOSTS % 2]
        name = "node_key_hash" if kind == "node" else "orbit_key_hash"
        self.issued += 1
        key_hash = hash_node_key(f"key {self.issued}")
        nobody = HostRecord(host_id=host_id, revision=0, node_key_hash=None, team_id=None, platform="ubuntu")
        known = self.truth.get(host_id, nobody)
        record = known.model_copy(update={name: key_hash.hex(), "revision": self.next_revision()})
        old = getattr(known, name)
        self._change(record, HostEnrolledV1(host=record, retired_key_hashes=() if old is None else (old,)))
        self.agents[kind].issued.append(key_hash)
        if which >= 2 * HOSTS:
            for agents in self.agents.values():
                agents.cache.put(record)

    def transfer(self, which: int) -> None:
        known = self.truth.get(self.ids[which % HOSTS])
        if known is not None:
            record = known.model_copy(update={"team_id": 1 + which // HOSTS, "revision": self.next_revision()})
            self._change(record, HostChangedV1(host=record))

    def lose_the_orbit_key(self, which: int) -> None:
        known = self.truth.get(self.ids[which % HOSTS])
        if known is not None and known.orbit_key_hash is not None:
            record = known.model_copy(update={"orbit_key_hash": None, "revision": self.next_revision()})
            self._change(record, HostChangedV1(host=record, retired_key_hashes=(known.orbit_key_hash,)))

    def delete(self, which: int) -> None:
        known = self.truth.pop(self.ids[which % HOSTS], None)
        if known is not None:
            self.ids[which % HOSTS] += HOSTS
            gone = known.model_copy(update={"revision": self.next_revision()})
            self.stream.append(HostDeletedV1(host=gone))
            self._note_changes()

    def change_scope(self, _: int) -> None:
        self.stream.append(ScopeChangedV1(revision=self.next_revision(), scope_labels=()))

    def _change(self, record: HostRecord, event: Event) -> None:
        self.truth[record.host_id] = record
        self.stream.append(event)
        self._note_changes()

    def _note_changes(self) -> None:
        for agents in self.agents.values():
            good = self.good(agents.kind)
            for request in agents.requests:
                request.always_good &= request.key_hash.hex() in good

    def hear(self, which: int) -> None:
        heard, self.stream = self.stream[: which + 1], self.stream[which + 1 :]
        for event in heard:
            take(event.subject, event.model_dump_json().encode(), *(agents.cache for agents in self.agents.values()))
            dead = keys_of(event)
            for agents in self.agents.values():
                agents.heard_dead |= {key_hash for key_hash in agents.issued if key_hash.hex() in dead}

    def lose_the_stream(self, _: int) -> None:
        self.stream.clear()
        for agents in self.agents.values():
            agents.cache.doubt_everything()

    def ask(self, which: int) -> None:
        """Let a request come with one of the latest keys of a kind."""
        agents = self.agents[KINDS[which % 2]]
        if agents.issued:
            key_hash = agents.issued[-LATEST:][which // 2 % min(LATEST, len(agents.issued))]
            task = asyncio.get_running_loop().create_task(agents.resolver.host_of_hash(key_hash))
            is_good = key_hash.hex() in self.good(agents.kind)
            agents.requests.append(Request(key_hash, task, key_hash in agents.heard_dead, is_good))

    def answer(self, which: int) -> None:
        self._settle(which, lambda question: question[2].set_result(question[1]))

    def fail(self, which: int) -> None:
        self._settle(which, lambda question: question[2].set_exception(Unavailable("down")))

    def _settle(
        self,
        which: int,
        settle: Callable[[tuple[object, NodeKeysResolvedV1, asyncio.Future[NodeKeysResolvedV1]]], None],
    ) -> None:
        questions = self.agents[KINDS[which % 2]].questions
        if questions:
            settle(questions.pop(which // 2 % len(questions)))

    def a_moment_passes(self, which: int) -> None:
        self.now += (0.1, 1.0)[which % 2]  # no question waits for as long as a tombstone lasts
        for agents in self.agents.values():
            agents.cache.sweep()

    async def check(self) -> None:
        """Look at the requests that were answered by now."""
        for _ in range(6):
            await asyncio.sleep(0)
        for agents in self.agents.values():
            for request in [request for request in agents.requests if request.task.done()]:
                agents.requests.remove(request)
                judge(request)

    async def end(self) -> None:
        """Let everything arrive, then come with every key."""
        self.hear(len(self.stream))
        while any(agents.questions or agents.requests for agents in self.agents.values()):
            for which in range(2):
                self.answer(which)
            await self.check()
        self.now += PROBE_SECONDS + 1.0
        for agents in self.agents.values():
            good = self.good(agents.kind)
            for key_hash in agents.issued:
                assert await self._opens(agents, key_hash) == opened_by(good.get(key_hash.hex()))

    async def _opens(self, agents: Agents, key_hash: bytes) -> tuple[int, int] | None:
        task = asyncio.get_running_loop().create_task(agents.resolver.host_of_hash(key_hash))
        while not task.done():
            await asyncio.sleep(0)
            for _, answer, future in agents.questions:
                future.set_result(answer)
            agents.questions.clear()
        error = task.exception()
        assert error is None or isinstance(error, UnknownNodeKey)
        return None if error is not None else (task.result().host_id, task.result().team_id)


def judge(request: Request) -> None:
    error = request.task.exception()
    assert error is None or isinstance(error, UnknownNodeKey | Unavailable)
    assert error is not None or not request.was_heard_dead, "a dead key is served"
    assert not isinstance(error, UnknownNodeKey) or not request.always_good, "a good key is called invalid"


def opened_by(record: HostRecord | None) -> tuple[int, int] | None:
    return None if record is None else (record.host_id, record.team_id or 0)


def keys_of(event: Event) -> set[str]:
    """Return the keys that an event says are dead."""
    if isinstance(event, HostDeletedV1):
        return {text for text in (event.host.node_key_hash, event.host.orbit_key_hash) if text is not None}
    return set(getattr(event, "retired_key_hashes", ()))


OFTEN = ["enroll", "ask", "ask", "answer", "hear", "hear"]
STEPS = st.sampled_from(
    [*OFTEN, "fail", "transfer", "delete", "lose_the_orbit_key", "change_scope", "lose_the_stream", "a_moment_passes"]
)

A_LATE_ANSWER_ABOUT_A_LOST_KEY = [
    ("enroll", 2),
    ("ask", 1),
    ("lose_the_orbit_key", 0),
    ("hear", 1),
    ("answer", 1),
    ("ask", 1),
]


@settings(max_examples=400, deadline=None, database=None)
@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 7)), min_size=5, max_size=40))
@example(steps=A_LATE_ANSWER_ABOUT_A_LOST_KEY)
async def test_no_order_of_events_serves_a_dead_key_or_calls_a_good_one_invalid(steps: list[tuple[str, int]]) -> None:
    world = World()
    for name, which in steps:
        getattr(world, name)(which)
        await world.check()
    await world.end()
    for agents in world.agents.values():
        await agents.resolver.close()

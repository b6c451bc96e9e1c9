"""Any interleaving of resolves, enrollments, transfers, deletes, changes of scope and losses of the stream ends right,
and no key is served once its revocation has been heard.

Sequences are drawn at random, many and short: it takes five or six certain steps to catch a cache that believes late
answers. A failure prints its seed and what happened.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from agent_gateway.domain.hosts import TOMBSTONE_SECONDS, Host, HostCache
from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.contracts.node_keys import hash_node_key

SEQUENCES = 4000
STEPS = 24
HOSTS = (1, 2)
KEYS = [hash_node_key(f"key {number}") for number in range(STEPS + 1)]


@dataclass
class Question:
    """A resolve on its way: what the asker remembered, and inventory's answer as of a revision."""

    key: bytes
    before: Host | None
    scope: int
    generation: int
    answer: HostRecord | None
    revision: int


@dataclass
class World:
    """inventory's truth, the stream on its way, questions on their way, and the cache."""

    chance: random.Random
    now: float = 1000.0
    revision: int = 0
    truth: dict[int, HostRecord] = field(default_factory=dict)
    stream: list[tuple[str, HostRecord, tuple[str, ...]]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    issued: list[bytes] = field(default_factory=list)
    revoked_and_heard: set[bytes] = field(default_factory=set)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache = HostCache(lambda: self.now)

    def next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def current(self) -> dict[bytes, HostRecord]:
        """Return the keys that are good now."""
        return {bytes.fromhex(record.node_key_hash or ""): record for record in self.truth.values()}

    def enroll(self) -> None:
        host_id = self.chance.choice(HOSTS)
        known = self.truth.get(host_id)
        key = KEYS[len(self.issued)]
        self.issued.append(key)
        self.truth[host_id] = HostRecord(
            host_id=host_id,
            revision=self.next_revision(),
            node_key_hash=key.hex(),
            team_id=None if known is None else known.team_id,
            platform="ubuntu",
        )
        retired = () if known is None else (known.node_key_hash or "",)
        self.stream.append(("enrolled", self.truth[host_id], retired))
        if self.chance.random() < 0.3:  # this gateway enrolled it and has the record before the stream brings it
            self.cache.put(self.truth[host_id])

    def transfer(self) -> None:
        host_id = self.chance.choice(HOSTS)
        if host_id in self.truth:
            news = {"team_id": self.chance.choice((None, 1, 2)), "revision": self.next_revision()}
            self.truth[host_id] = self.truth[host_id].model_copy(update=news)
            self.stream.append(("changed", self.truth[host_id], ()))

    def delete(self) -> None:
        host_id = self.chance.choice(HOSTS)
        if host_id in self.truth:
            gone = self.truth.pop(host_id).model_copy(update={"revision": self.next_revision()})
            self.stream.append(("deleted", gone, ()))

    def change_scope(self) -> None:
        mark = HostRecord(host_id=1, revision=self.next_revision(), node_key_hash=None, platform="")
        self.stream.append(("scope", mark, ()))

    def hear(self) -> None:
        count = self.chance.randrange(1, 5)
        heard, self.stream = self.stream[:count], self.stream[count:]
        for kind, record, retired in heard:
            if kind == "enrolled":
                self.cache.retire(retired)
                self.cache.put(record)
                self.revoked_and_heard |= {bytes.fromhex(text) for text in retired}
            elif kind == "changed":
                self.cache.put(record)
            elif kind == "deleted":
                self.cache.delete(record)
                self.revoked_and_heard.add(bytes.fromhex(record.node_key_hash or ""))
            else:
                self.cache.scope_changed(record.revision)

    def lose_the_stream(self) -> None:
        self.stream.clear()
        self.cache.doubt_everything()
        self.revoked_and_heard |= set(self.issued) - set(self.current())

    def ask(self) -> None:
        """Ask for a key; inventory answers at once, the answer arrives whenever it does."""
        if self.issued:
            key = self.chance.choice(self.issued[-3:])
            self.questions.append(self._question(key))

    def _question(self, key: bytes) -> Question:
        cache = self.cache
        before = cache.find_even_stale(key)
        return Question(key, before, cache.scope_revision, cache.generation, self.current().get(key), self.revision)

    def an_answer_arrives(self) -> None:
        if self.questions:
            self.take(self.questions.pop(self.chance.randrange(len(self.questions))))

    def take(self, question: Question) -> None:
        """Apply an answer as KeyResolver does."""
        if question.answer is None:
            self.cache.deny(question.key, question.before)
        else:
            as_of = max(question.revision, question.scope)
            self.cache.put(question.answer, as_of=as_of, generation=question.generation)

    def a_moment_passes(self) -> None:
        self.now += self.chance.choice((0.1, 1.0))  # no question waits for as long as a tombstone lasts
        self.cache.sweep()

    def check(self) -> None:
        for key in self.revoked_and_heard:
            assert self.cache.find(key) is None, "a revoked key is served"

    def end(self) -> None:
        """Let everything arrive and ask for every key that is not there: the cache says what is true."""
        while self.stream:
            self.hear()
        while self.questions:
            self.an_answer_arrives()
        self.check()
        self.now += TOMBSTONE_SECONDS + 1
        self.cache.sweep()
        current = self.current()
        for key in self.issued:
            if self.cache.find(key) is None:
                self.take(self._question(key))
            host, owner = self.cache.find(key), current.get(key)
            found = None if host is None else (host.host_id, host.team_id)
            assert found == (None if owner is None else (owner.host_id, owner.team_id or 0)), "the end is wrong"
        assert len(self.cache) == len(current)


def steps_of(world: World) -> list[Callable[[], None]]:
    often = [world.enroll, world.ask, world.an_answer_arrives, world.hear] * 2
    return [*often, world.transfer, world.delete, world.change_scope, world.lose_the_stream, world.a_moment_passes]


@pytest.mark.parametrize("start", range(0, SEQUENCES, 1000))
def test_every_order_ends_right(start: int) -> None:
    base = random.randrange(10**9)
    for number in range(start, start + 1000):
        world = World(random.Random(base + number))
        steps = steps_of(world)
        try:
            for _ in range(STEPS):
                step = world.chance.choice(steps)
                world.story.append(step.__name__)
                step()
                world.check()
            world.end()
        except AssertionError as error:
            raise AssertionError(f"seed {base + number}: {error}: {' > '.join(world.story)}") from error

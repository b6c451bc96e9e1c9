"""Who may come in: the hosts that this process knows, by key hash, kept true by revisions.

Three sources write here in any order: events of stream HOSTS, answers to resolves, answers to enrollments. A record
wins only over one with a lower revision; what is deleted or retired leaves a tombstone for a while, so that a late
answer to an earlier question cannot bring it back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.contracts.plans import class_key

TOMBSTONE_SECONDS = 60.0
NEGATIVE_SECONDS = 0.5  # a key that inventory does not know is asked for again after this
NEGATIVES_LIMIT = 100_000


class Host:
    """One host as the hot path sees it. `team_id` 0 = no team."""

    __slots__ = (
        "as_of",
        "class_key",
        "generation",
        "host_id",
        "key_hash",
        "platform",
        "revision",
        "scope_labels",
        "team_id",
    )

    def __init__(self, record: HostRecord, key_hash: bytes, as_of: int, generation: int) -> None:
        self.host_id = record.host_id
        self.key_hash = key_hash
        self.revision = record.revision
        self.team_id = record.team_id or 0
        self.platform = sys.intern(record.platform)
        self.scope_labels = record.scope_labels
        self.class_key = sys.intern(class_key(record.team_id, record.platform, record.scope_labels))
        self.as_of = as_of
        self.generation = generation


class HostCache:
    """Key hash -> host. All methods are plain calls: between two of them anything may have changed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_hash: dict[bytes, Host] = {}
        self._by_id: dict[int, Host] = {}
        self._dead_hashes: dict[bytes, float] = {}  # -> until
        self._dead_ids: dict[int, tuple[int, float]] = {}  # -> revision of the deletion, until
        self._unknown: dict[bytes, float] = {}  # -> until
        self.scope_revision = 0
        self.generation = 0

    def __len__(self) -> int:
        return len(self._by_hash)

    def find(self, key_hash: bytes) -> Host | None:
        """Return the host if it may be served without asking."""
        host = self._by_hash.get(key_hash)
        if host is None or host.as_of < self.scope_revision or host.generation != self.generation:
            return None
        return host

    def find_even_stale(self, key_hash: bytes) -> Host | None:
        """Return the host as last known: for when nobody can be asked."""
        return self._by_hash.get(key_hash)

    def is_known_unknown(self, key_hash: bytes) -> bool:
        """Whether inventory, or the stream, said a moment ago that no host has this key."""
        now = self._clock()
        return self._unknown.get(key_hash, 0.0) > now or self._dead_hashes.get(key_hash, 0.0) > now

    def put(self, record: HostRecord, *, as_of: int = 0, generation: int | None = None) -> None:
        """Take a record from an event or an answer, unless a newer one is here.

        `as_of` is the revision up to which the source had seen everything; `generation` the one when it was asked.
        """
        known = self._by_id.get(record.host_id)
        generation = self.generation if generation is None else generation
        as_of = max(record.revision, as_of)
        if self._is_dead(record) or (known is not None and known.revision > record.revision):
            return
        if known is not None and known.revision == record.revision:
            known.as_of, known.generation = max(known.as_of, as_of), max(known.generation, generation)
            return
        if known is not None:
            self._forget(known)
        if record.node_key_hash is None:
            return
        key_hash = bytes.fromhex(record.node_key_hash)
        if self._dead_hashes.get(key_hash, 0.0) > self._clock():
            return
        host = Host(record, key_hash, as_of, generation)
        self._by_hash[key_hash] = self._by_id[record.host_id] = host
        self._unknown.pop(key_hash, None)

    def retire(self, key_hashes: tuple[str, ...]) -> None:
        """Bury keys that a new enrollment replaced."""
        for text in key_hashes:
            self._bury_hash(bytes.fromhex(text))

    def delete(self, record: HostRecord) -> None:
        """Bury a host and its key."""
        self._dead_ids[record.host_id] = (record.revision, self._clock() + TOMBSTONE_SECONDS)
        if record.node_key_hash is not None:
            self._bury_hash(bytes.fromhex(record.node_key_hash))
        known = self._by_id.get(record.host_id)
        if known is not None:
            self._bury_hash(known.key_hash)

    def deny(self, key_hash: bytes, asked_about: Host | None) -> None:
        """Take a positive "no host has this key", unless an event brought the key since the question was asked."""
        present = self._by_hash.get(key_hash)
        if present is not asked_about:
            return
        if present is not None:
            self._forget(present)
        if len(self._unknown) < NEGATIVES_LIMIT:
            self._unknown[key_hash] = self._clock() + NEGATIVE_SECONDS

    def scope_changed(self, revision: int) -> None:
        """Let records older than `revision` count as misses: their scope labels may be wrong."""
        self.scope_revision = max(self.scope_revision, revision)

    def doubt_everything(self) -> None:
        """Let every record be resolved again: events were missed."""
        self.generation += 1

    def sweep(self) -> None:
        """Drop what has expired; called now and then."""
        now = self._clock()
        self._dead_hashes = {key: until for key, until in self._dead_hashes.items() if until > now}
        self._dead_ids = {key: value for key, value in self._dead_ids.items() if value[1] > now}
        self._unknown = {key: until for key, until in self._unknown.items() if until > now}

    def _is_dead(self, record: HostRecord) -> bool:
        revision, until = self._dead_ids.get(record.host_id, (0, 0.0))
        return until > self._clock() and record.revision <= revision

    def _bury_hash(self, key_hash: bytes) -> None:
        self._dead_hashes[key_hash] = self._clock() + TOMBSTONE_SECONDS
        known = self._by_hash.get(key_hash)
        if known is not None:
            self._forget(known)

    def _forget(self, host: Host) -> None:
        if self._by_hash.get(host.key_hash) is host:
            del self._by_hash[host.key_hash]
        if self._by_id.get(host.host_id) is host:
            del self._by_id[host.host_id]

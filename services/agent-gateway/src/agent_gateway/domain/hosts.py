"""Who may come in: the hosts that this process knows, by key hash, kept true by revisions.

Three sources write here in any order: events of stream HOSTS, answers to resolves, answers to enrollments. A record
wins only over one with a lower revision; what is deleted or retired leaves a tombstone for a while, so that a late
answer to an earlier question cannot bring it back.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from weakref import WeakValueDictionary

from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.contracts.plans import class_key

TOMBSTONE_SECONDS = 60.0
NEGATIVE_SECONDS = 0.5  # a key that inventory does not know is asked for again after this
NEGATIVES_LIMIT = 100_000
KEY_BYTES = 16
STALE = -1  # an epoch that never is


class HostClass:
    """What hosts of the same team, platform and scope labels share. `team_id` 0 = no team."""

    __slots__ = ("__weakref__", "class_key", "platform", "scope_labels", "team_id")

    def __init__(self, record: HostRecord) -> None:
        self.team_id = record.team_id or 0
        self.platform = record.platform
        self.scope_labels = record.scope_labels
        self.class_key = class_key(record.team_id, record.platform, record.scope_labels)


class Host:
    """One host as the hot path sees it; a million of them must fit, so what can be shared is in its class."""

    __slots__ = ("epoch", "host_id", "key", "of")

    def __init__(self, host_id: int, key: int, of: HostClass, epoch: int) -> None:
        self.host_id = host_id
        self.key = key
        self.of = of
        self.epoch = epoch

    @property
    def team_id(self) -> int:
        """The team's id, 0 = no team."""
        return self.of.team_id

    @property
    def platform(self) -> str:
        """The platform, as inventory names it."""
        return self.of.platform

    @property
    def scope_labels(self) -> tuple[int, ...]:
        """The labels that decide which queries the host gets."""
        return self.of.scope_labels

    @property
    def class_key(self) -> str:
        """The name of the host's class of plans."""
        return self.of.class_key


class HostsById:
    """Host id -> host and its revision, in pages: ids come from one sequence, so most of a page is used."""

    PAGE = 256

    def __init__(self) -> None:
        self._pages: dict[int, tuple[list[Host | None], array[int]]] = {}

    def get(self, host_id: int) -> tuple[Host | None, int]:
        """Return the host with this id and its revision; None and 0 when it is not here."""
        number, place = divmod(host_id, self.PAGE)
        page = self._pages.get(number)
        return (None, 0) if page is None else (page[0][place], page[1][place])

    def put(self, host: Host, revision: int) -> None:
        """Hold a host in the place of an earlier one with its id."""
        number, place = divmod(host.host_id, self.PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = ([None] * self.PAGE, array("q", bytes(8 * self.PAGE)))
        page[0][place], page[1][place] = host, revision

    def remove(self, host: Host) -> None:
        """Let go of a host, unless another one is in its place."""
        number, place = divmod(host.host_id, self.PAGE)
        page = self._pages.get(number)
        if page is None or page[0][place] is not host:
            return
        page[0][place], page[1][place] = None, 0
        if not any(page[0]):
            del self._pages[number]


class HostCache:
    """Key hash -> host. All methods are plain calls: between two of them anything may have changed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_key: dict[int, Host] = {}  # an int takes less than bytes
        self._by_id = HostsById()
        self._classes: WeakValueDictionary[tuple[int | None, str, tuple[int, ...]], HostClass] = WeakValueDictionary()
        self._dead_hashes: dict[bytes, float] = {}  # -> until
        self._dead_ids: dict[int, tuple[int, float]] = {}  # -> revision of the deletion, until
        self._unknown: dict[bytes, float] = {}  # -> until
        self.scope_revision = 0
        self.generation = 0
        self._epoch = 0  # hosts of an earlier one count as misses

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, key_hash: bytes) -> Host | None:
        """Return the host if it may be served without asking."""
        host = self._by_key.get(int.from_bytes(key_hash))
        return None if host is None or host.epoch != self._epoch else host

    def find_even_stale(self, key_hash: bytes) -> Host | None:
        """Return the host as last known: for when nobody can be asked."""
        return self._by_key.get(int.from_bytes(key_hash))

    def is_known_unknown(self, key_hash: bytes) -> bool:
        """Whether inventory, or the stream, said a moment ago that no host has this key."""
        now = self._clock()
        return self._unknown.get(key_hash, 0.0) > now or self._dead_hashes.get(key_hash, 0.0) > now

    def put(self, record: HostRecord, *, as_of: int = 0, generation: int | None = None) -> None:
        """Take a record from an event or an answer, unless a newer one is here.

        `as_of` is the revision up to which the source had seen everything; `generation` the one when it was asked.
        """
        known, revision = self._by_id.get(record.host_id)
        if self._is_dead(record) or revision > record.revision:
            return
        is_fresh = max(record.revision, as_of) >= self.scope_revision and generation in (None, self.generation)
        if known is not None and revision == record.revision:
            known.epoch = self._epoch if is_fresh else known.epoch
            return
        if known is not None:
            self._forget(known)
        if record.node_key_hash is None:
            return
        key_hash = bytes.fromhex(record.node_key_hash)
        if self._dead_hashes.get(key_hash, 0.0) > self._clock():
            return
        key = int.from_bytes(key_hash)
        host = Host(record.host_id, key, self._class_of(record), self._epoch if is_fresh else STALE)
        self._by_key[key] = host
        self._by_id.put(host, record.revision)
        self._unknown.pop(key_hash, None)

    def retire(self, key_hashes: tuple[str, ...]) -> None:
        """Bury keys that a new enrollment replaced."""
        for text in key_hashes:
            self._bury_hash(bytes.fromhex(text))

    def delete(self, record: HostRecord) -> None:
        """Bury a host and its key, but not what enrolled after that."""
        self._dead_ids[record.host_id] = (record.revision, self._clock() + TOMBSTONE_SECONDS)
        if record.node_key_hash is not None:
            self._bury_hash(bytes.fromhex(record.node_key_hash))
        known, revision = self._by_id.get(record.host_id)
        if known is not None and revision <= record.revision:
            self._bury_hash(known.key.to_bytes(KEY_BYTES))

    def deny(self, key_hash: bytes, asked_about: Host | None) -> None:
        """Take a positive "no host has this key", unless an event brought the key since the question was asked."""
        present = self.find_even_stale(key_hash)
        if present is not asked_about:
            return
        if present is not None:
            self._forget(present)
        if len(self._unknown) < NEGATIVES_LIMIT:
            self._unknown[key_hash] = self._clock() + NEGATIVE_SECONDS

    def scope_changed(self, revision: int) -> None:
        """Let every record count as a miss, and those older than `revision` from now on: scope labels may be wrong."""
        if revision > self.scope_revision:
            self.scope_revision = revision
            self._epoch += 1

    def doubt_everything(self) -> None:
        """Let every record be resolved again: events were missed."""
        self.generation += 1
        self._epoch += 1

    def sweep(self) -> None:
        """Drop what has expired; called now and then."""
        now = self._clock()
        self._dead_hashes = {key: until for key, until in self._dead_hashes.items() if until > now}
        self._dead_ids = {key: value for key, value in self._dead_ids.items() if value[1] > now}
        self._unknown = {key: until for key, until in self._unknown.items() if until > now}

    def _class_of(self, record: HostRecord) -> HostClass:
        key = (record.team_id, record.platform, record.scope_labels)
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = HostClass(record)
        return found

    def _is_dead(self, record: HostRecord) -> bool:
        revision, until = self._dead_ids.get(record.host_id, (0, 0.0))
        return until > self._clock() and record.revision <= revision

    def _bury_hash(self, key_hash: bytes) -> None:
        self._dead_hashes[key_hash] = self._clock() + TOMBSTONE_SECONDS
        known = self.find_even_stale(key_hash)
        if known is not None:
            self._forget(known)

    def _forget(self, host: Host) -> None:
        if self._by_key.get(host.key) is host:
            del self._by_key[host.key]
        self._by_id.remove(host)

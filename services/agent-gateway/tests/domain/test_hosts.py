"""The host cache, in every order in which events and answers may come."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from agent_gateway.domain.hosts import NEGATIVE_SECONDS, TOMBSTONE_SECONDS, HostCache
from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.contracts.node_keys import hash_node_key

OLD, NEW = hash_node_key("old"), hash_node_key("new")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosts(clock: Clock) -> HostCache:
    return HostCache(clock)


def record(revision: int, key: bytes | None = OLD, *, team_id: int | None = None) -> HostRecord:
    return HostRecord(
        host_id=1, revision=revision, node_key_hash=None if key is None else key.hex(), team_id=team_id, platform="rhel"
    )


def test_the_newest_revision_wins_in_any_order() -> None:
    for order in itertools.permutations([record(1), record(2, team_id=7), record(3, team_id=8)]):
        hosts = HostCache()
        for item in order:
            hosts.put(item)

        host = hosts.find(OLD)
        assert host is not None
        assert host.team_id == 8


def test_a_re_enrolled_host_has_its_new_key_only_in_any_order() -> None:
    def enroll_again(hosts: HostCache) -> None:
        hosts.retire((OLD.hex(),))
        hosts.put(record(3, NEW))

    steps: list[Callable[[HostCache], None]] = [
        lambda hosts: hosts.put(record(1)),
        lambda hosts: hosts.put(record(2)),
        enroll_again,
    ]
    for order in itertools.permutations(steps):
        hosts = HostCache()
        for step in order:
            step(hosts)

        assert hosts.find(OLD) is None
        assert hosts.find(NEW) is not None
        assert len(hosts) == 1


def test_a_deleted_host_stays_out_in_any_order() -> None:
    steps: list[Callable[[HostCache], None]] = [
        lambda hosts: hosts.put(record(1)),
        lambda hosts: hosts.put(record(2)),
        lambda hosts: hosts.delete(record(3, None)),
    ]
    for order in itertools.permutations(steps):
        hosts = HostCache()
        for step in order:
            step(hosts)

        assert hosts.find(OLD) is None
        assert len(hosts) == 0


def test_what_enrolled_after_a_deletion_stays_in_any_order() -> None:
    steps: list[Callable[[HostCache], None]] = [
        lambda hosts: hosts.put(record(1)),
        lambda hosts: hosts.delete(record(2)),
        lambda hosts: hosts.put(record(3, NEW)),
    ]
    for order in itertools.permutations(steps):
        hosts = HostCache()
        for step in order:
            step(hosts)

        assert hosts.find(OLD) is None
        assert hosts.find(NEW) is not None


def test_a_tombstone_is_kept_for_a_minute(hosts: HostCache, clock: Clock) -> None:
    hosts.delete(record(3))
    clock.now += TOMBSTONE_SECONDS - 1
    hosts.sweep()
    hosts.put(record(2))
    kept_out = hosts.find(OLD) is None
    clock.now += 2
    hosts.sweep()

    assert kept_out
    assert not hosts.is_known_unknown(OLD)


def test_a_host_without_a_valid_key_is_not_found(hosts: HostCache) -> None:
    hosts.put(record(1))
    hosts.put(record(2, None))

    assert hosts.find(OLD) is None


def test_a_denied_key_is_asked_for_again_after_a_moment(hosts: HostCache, clock: Clock) -> None:
    hosts.deny(OLD, None)
    at_once = hosts.is_known_unknown(OLD)
    clock.now += NEGATIVE_SECONDS + 0.01

    assert at_once
    assert not hosts.is_known_unknown(OLD)
    assert NEGATIVE_SECONDS <= 1.0


def test_a_denial_removes_the_host_that_was_asked_about(hosts: HostCache) -> None:
    hosts.put(record(1))

    hosts.deny(OLD, hosts.find_even_stale(OLD))

    assert hosts.find_even_stale(OLD) is None


def test_a_denial_that_is_older_than_an_event_removes_nothing(hosts: HostCache) -> None:
    asked_about = hosts.find_even_stale(OLD)
    hosts.put(record(1))

    hosts.deny(OLD, asked_about)

    assert hosts.find(OLD) is not None


def test_a_record_older_than_a_change_of_scope_is_stale_until_resolved(hosts: HostCache) -> None:
    hosts.put(record(1))
    hosts.scope_changed(5)
    stale = hosts.find(OLD) is None and hosts.find_even_stale(OLD) is not None
    hosts.put(record(1), as_of=5)

    assert stale
    assert hosts.find(OLD) is not None


def test_after_a_gap_everybody_is_stale_until_resolved(hosts: HostCache) -> None:
    hosts.put(record(1))
    hosts.doubt_everything()
    stale = hosts.find(OLD) is None
    hosts.put(record(1), generation=0)
    asked_before_the_gap = hosts.find(OLD) is None
    hosts.put(record(1), generation=1)

    assert stale
    assert asked_before_the_gap
    assert hosts.find(OLD) is not None

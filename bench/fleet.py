"""The synthetic fleet: hosts by number, with node keys that the load client makes from the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.contracts.node_keys import hash_node_key

KEY_DIGITS = 23
PLATFORMS = ("ubuntu", "darwin", "windows", "rhel")
TEAMS = (None, 1, 2, 3)


def node_key(number: int) -> str:
    """Return the node key of a host: 32 characters, as `write_key` in bench/load/request.c makes it."""
    return f"benchhost{number:0{KEY_DIGITS}}"


def host_id(number: int) -> int:
    """Return the id of a host."""
    return number + 1


def record(number: int) -> HostRecord:
    """Return what inventory would say about a host; sixteen classes, spread evenly."""
    return HostRecord(
        host_id=host_id(number),
        revision=number + 1,
        node_key_hash=hash_node_key(node_key(number)).hex(),
        team_id=TEAMS[number // len(PLATFORMS) % len(TEAMS)],
        platform=PLATFORMS[number % len(PLATFORMS)],
    )


def records(count: int) -> Iterator[HostRecord]:
    """Yield the records of the first `count` hosts."""
    return map(record, range(count))

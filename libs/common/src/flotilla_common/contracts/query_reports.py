"""When hosts sent their latest results of a query: tables of log-shipper that admin-api reads.

The times of a block of hosts are one value, so that results that have not changed cost one write for all of them: for
each host, in the order of ids, Unix time (s) and the execution's counter, 32 bits each, big-endian. Zero: no result.
"""

from __future__ import annotations

from datetime import UTC, datetime

BLOCK_HOSTS = 128
ENTRY_BYTES = 8
BLOCK_BYTES = BLOCK_HOSTS * ENTRY_BYTES
USUAL_CAP = 1000  # rows of a host and query, where the app config does not say


def block_of(host_id: int) -> int:
    """Return the block that a host is in."""
    return host_id // BLOCK_HOSTS


def offset_of(host_id: int) -> int:
    """Return where a host's entry begins in its block."""
    return host_id % BLOCK_HOSTS * ENTRY_BYTES


def fetched_at(times: bytes, host_id: int) -> datetime | None:
    """Return when a host's latest result is of, given the times of its block; None when there is none."""
    start = offset_of(host_id)
    seconds = int.from_bytes(times[start : start + ENTRY_BYTES // 2], "big")
    return datetime.fromtimestamp(seconds, UTC) if seconds else None

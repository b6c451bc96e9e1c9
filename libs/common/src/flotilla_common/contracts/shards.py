"""Sixteen shards, by host id or by gateway process: never a subject, consumer or stream per host."""

from __future__ import annotations

import random

SHARDS = 16


def shard_of(host_id: int) -> int:
    """Return the shard (0 to 15) of a host. Multiplied first, so that consecutive ids spread."""
    return (host_id * 0x9E3779B1 & 0xFFFFFFFF) >> 28


def any_shard() -> int:
    """Return one of them, for a process that puts all hosts of its own on one subject."""
    return random.randrange(SHARDS)  # noqa: S311 - spreads processes, hides nothing

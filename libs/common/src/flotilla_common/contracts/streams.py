"""Streams and buckets: made by `make migrate` alone, verified by every service at start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 1024 * 1024
GIB = 1024 * MIB
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class StreamSpec:
    """A file-backed JetStream stream. Sizes in bytes; `max_age_seconds` 0 keeps for ever."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"]
    discard: Literal["old", "new"]
    dev_bytes: int
    production_bytes: int
    max_age_seconds: int = 0
    publisher: str = ""  # the one service that publishes to it; empty: the consumer of bus/ (stream DEAD)


@dataclass(frozen=True)
class BucketSpec:
    """A JetStream key-value bucket with its one writer."""

    name: str
    writer: str
    history: int = 1


@dataclass(frozen=True)
class StoreSpec:
    """A JetStream object store with its one writer. Sizes in bytes."""

    name: str
    writer: str
    dev_bytes: int
    production_bytes: int


STREAMS: tuple[StreamSpec, ...] = (
    StreamSpec(
        "HOSTS",
        (
            "hosts.enrolled.v1",
            "hosts.changed.v1",
            "hosts.deleted.v1",
            "hosts.scope_changed.v1",
            "hosts.enroll_refused.v1",
            "hosts.identity_shared.v1",
        ),
        "limits",
        "old",
        256 * MIB,
        4 * GIB,
        7 * DAY_SECONDS,
        "inventory",
    ),
    # For the life of a device token and a little more: all of it is read at a gateway's start.
    StreamSpec("DEVICE_TOKENS", ("device_tokens.>",), "limits", "old", 64 * MIB, GIB, 3900, "inventory"),
    StreamSpec("DEFINITIONS", ("definitions.>",), "limits", "old", 256 * MIB, GIB, 7 * DAY_SECONDS, "admin_api"),
    StreamSpec("ANSWERS", ("answers.>",), "workqueue", "new", GIB, 10 * GIB, 0, "agent_gateway"),
    StreamSpec("OVERRUNS", ("overruns.>",), "limits", "old", 16 * MIB, 256 * MIB, 7 * DAY_SECONDS, "live_query"),
    # Apart from ANSWERS: a full one, or blocks that wait for the blob store, must not hold up campaigns.
    StreamSpec("CARVES", ("carves.part.v1",), "workqueue", "new", GIB, 10 * GIB, 0, "agent_gateway"),
    StreamSpec("RESULTS", ("results.>",), "workqueue", "new", GIB, 10 * GIB, 0, "agent_gateway"),
    StreamSpec("LOGS", ("logs.>",), "limits", "new", 2 * GIB, 50 * GIB, 0, "agent_gateway"),
    StreamSpec("DEAD", ("dead.>",), "limits", "new", GIB, 10 * GIB),
)
BUCKETS: tuple[BucketSpec, ...] = (
    BucketSpec("CAMPAIGNS", "live_query"),
    BucketSpec("PLANS", "config_merger"),
    BucketSpec("DETAILS", "inventory"),
)
OBJECT_STORES: tuple[StoreSpec, ...] = (StoreSpec("TARGETS", "live_query", 256 * MIB, 4 * GIB),)
DUPLICATE_WINDOW_SECONDS = 30
MAX_PAYLOAD_BYTES = 8 * MIB


def bucket_stream(bucket: str) -> str:
    """Return the name of the stream behind a bucket."""
    return f"KV_{bucket}"


def object_stream(store: str) -> str:
    """Return the name of the stream behind an object store."""
    return f"OBJ_{store}"


def bucket_subject(bucket: str, key: str) -> str:
    """Return the subject behind a bucket's key."""
    return f"$KV.{bucket}.{key}"

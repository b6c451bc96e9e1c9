"""Make streams and buckets as `contracts.streams` says, and verify them: services refuse to start on others."""

from __future__ import annotations

from typing import Literal

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, ObjectStoreConfig, RetentionPolicy, StorageType, StreamConfig

from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.streams import (
    BUCKETS,
    DUPLICATE_WINDOW_SECONDS,
    MAX_PAYLOAD_BYTES,
    OBJECT_STORES,
    STREAMS,
    BucketSpec,
    StoreSpec,
    StreamSpec,
    bucket_stream,
    object_stream,
)
from flotilla_common.errors import Unavailable

Size = Literal["dev", "production"]

RETENTION = {"limits": RetentionPolicy.LIMITS, "workqueue": RetentionPolicy.WORK_QUEUE}
UNCHANGEABLE = {"storage", "retention"}  # the server refuses to
DISCARD = {"old": DiscardPolicy.OLD, "new": DiscardPolicy.NEW}


def config_of(spec: StreamSpec, size: Size) -> StreamConfig:
    """Return the server's configuration of a stream."""
    return StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=RETENTION[spec.retention],
        discard=DISCARD[spec.discard],
        storage=StorageType.FILE,
        max_bytes=spec.production_bytes if size == "production" else spec.dev_bytes,
        max_age=spec.max_age_seconds,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
        allow_direct=True,
    )


async def make(js: JetStreamContext, size: Size) -> None:
    """Create or update every stream, bucket and object store, so that `verify` and its like accept them.

    Running it again changes nothing. Replicas, a larger `max_bytes`, a longer duplicate window and a `max_msg_size`
    that is large enough stay as operators chose. What the server cannot change it refuses: `storage`, some retentions.
    """
    for spec in STREAMS:
        config = config_of(spec, size)
        found = await _find(js, spec.name)
        if found is None:
            await js.add_stream(config)
        else:
            await js.update_stream(
                config.evolve(
                    num_replicas=found.num_replicas,
                    max_bytes=max(found.max_bytes or 0, config.max_bytes or 0),
                    duplicate_window=max(found.duplicate_window, config.duplicate_window),
                    max_msg_size=_enough(found.max_msg_size),
                )
            )
    for bucket in BUCKETS:
        await _make_bucket(js, bucket)
    for store in OBJECT_STORES:
        await _make_store(js, store, size)


async def _make_bucket(js: JetStreamContext, spec: BucketSpec) -> None:
    found = await _find(js, bucket_stream(spec.name))
    if found is None:
        await js.create_key_value(
            KeyValueConfig(bucket=spec.name, history=spec.history, storage=StorageType.FILE, direct=True)
        )
    else:
        await js.update_stream(_kept(found).evolve(max_msgs_per_subject=spec.history))


async def _make_store(js: JetStreamContext, spec: StoreSpec, size: Size) -> None:
    limit = spec.production_bytes if size == "production" else spec.dev_bytes
    found = await _find(js, object_stream(spec.name))
    if found is None:
        await js.create_object_store(spec.name, ObjectStoreConfig(storage=StorageType.FILE, max_bytes=limit))
    else:
        max_bytes = max(found.max_bytes or 0, limit)
        await js.update_stream(_kept(found).evolve(max_bytes=max_bytes, discard=DiscardPolicy.NEW))


async def _find(js: JetStreamContext, stream: str) -> StreamConfig | None:
    try:
        return (await js.stream_info(stream)).config
    except nats.js.errors.NotFoundError:
        return None


def _kept(found: StreamConfig) -> StreamConfig:
    """Return the configuration of a bucket or store with what `_check_keeping` wants, and kept for ever."""
    return found.evolve(
        storage=StorageType.FILE, max_age=0, max_msgs=-1, max_msg_size=_enough(found.max_msg_size), no_ack=False
    )


def _enough(max_msg_size: int | None) -> int:
    """Return a limit on the size of messages that is large enough, or none."""
    return max_msg_size if max_msg_size is not None and max_msg_size >= MAX_PAYLOAD_BYTES else -1


async def verify(bus: Bus, *names: str) -> None:
    """Check the streams that this service depends on, whoever made or changed them.

    Operators choose `max_bytes` (there must be a limit), replicas and a longer duplicate window.

    Raises:
        Unavailable: a stream is missing, or a member is not as wanted.

    """
    wanted = {spec.name: spec for spec in STREAMS}
    for name in names:
        found = await _config_of(bus, name)
        spec = wanted[name]
        _check(name, "max_bytes", found.max_bytes, "a limit", ok=_is_limit(found.max_bytes))
        _check(name, "retention", found.retention, spec.retention, ok=found.retention == RETENTION[spec.retention])
        _check(name, "discard", found.discard, spec.discard, ok=found.discard == DISCARD[spec.discard])
        _check(name, "max_age", found.max_age, spec.max_age_seconds, ok=(found.max_age or 0) == spec.max_age_seconds)
        _check(
            name, "subjects", found.subjects, list(spec.subjects), ok=set(found.subjects or ()) == set(spec.subjects)
        )
        _check(
            name,
            "duplicate_window",
            found.duplicate_window,
            f"at least {DUPLICATE_WINDOW_SECONDS}",
            ok=found.duplicate_window >= DUPLICATE_WINDOW_SECONDS,
        )
        _check(
            name,
            "max_msgs_per_subject",
            found.max_msgs_per_subject,
            "no limit",
            ok=not _is_limit(found.max_msgs_per_subject),
        )
        _check_keeping(name, found)


async def verify_bucket(bus: Bus, name: str) -> None:
    """Check a bucket.

    Raises:
        Unavailable: it is missing, or a member is not as wanted.

    """
    stream = bucket_stream(name)
    found = await _config_of(bus, stream)
    history = next(spec.history for spec in BUCKETS if spec.name == name)
    _check(stream, "history", found.max_msgs_per_subject, history, ok=found.max_msgs_per_subject == history)
    _check(stream, "max_age", found.max_age, 0, ok=not found.max_age)
    _check_keeping(stream, found)


async def verify_store(bus: Bus, name: str) -> None:
    """Check an object store.

    Raises:
        Unavailable: it is missing, or a member is not as wanted.

    """
    stream = object_stream(name)
    found = await _config_of(bus, stream)
    _check(stream, "max_age", found.max_age, 0, ok=not found.max_age)
    _check(stream, "discard", found.discard, "new", ok=found.discard == DiscardPolicy.NEW)
    _check(stream, "max_bytes", found.max_bytes, "a limit", ok=_is_limit(found.max_bytes))
    _check_keeping(stream, found)


def _check_keeping(stream: str, found: StreamConfig) -> None:
    """Check what holds for all: kept on disk, acknowledged, and nothing refused or dropped but by bytes and age."""
    _check(stream, "storage", found.storage, "file", ok=found.storage == StorageType.FILE)
    _check(stream, "no_ack", found.no_ack, False, ok=not found.no_ack)
    _check(stream, "max_msgs", found.max_msgs, "no limit", ok=not _is_limit(found.max_msgs))
    _check(
        stream,
        "max_msg_size",
        found.max_msg_size,
        f"no limit, or at least {MAX_PAYLOAD_BYTES}",
        ok=not _is_limit(found.max_msg_size) or _is_limit(_enough(found.max_msg_size)),
    )


async def _config_of(bus: Bus, stream: str) -> StreamConfig:
    try:
        return (await bus.js.stream_info(stream)).config
    except nats.js.errors.NotFoundError:
        raise Unavailable(f"stream {stream} does not exist: run `make migrate`") from None


def _is_limit(value: int | None) -> bool:
    return value is not None and value > 0


def _check(stream: str, member: str, found: object, wanted: object, *, ok: bool) -> None:
    if not ok:
        shown = getattr(found, "value", found)
        advice = "only a new stream can have it" if member in UNCHANGEABLE else "put it right or run `make migrate`"
        raise Unavailable(f"stream {stream}: {member} is {shown}, wanted {wanted}: {advice}")

"""Make streams and buckets as `contracts.streams` says, and verify them: services refuse to start on others."""

from __future__ import annotations

from typing import Literal

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, RetentionPolicy, StorageType, StreamConfig

from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.streams import (
    BUCKETS,
    DUPLICATE_WINDOW_SECONDS,
    STREAMS,
    BucketSpec,
    StreamSpec,
)
from flotilla_common.errors import Unavailable

Size = Literal["dev", "production"]

RETENTION = {"limits": RetentionPolicy.LIMITS, "workqueue": RetentionPolicy.WORK_QUEUE}
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
    """Create or update every stream and bucket. Running it again changes nothing."""
    for spec in STREAMS:
        config = config_of(spec, size)
        try:
            await js.stream_info(spec.name)
        except nats.js.errors.NotFoundError:
            await js.add_stream(config)
        else:
            await js.update_stream(config)
    for bucket in BUCKETS:
        await _make_bucket(js, bucket)


async def _make_bucket(js: JetStreamContext, spec: BucketSpec) -> None:
    try:
        await js.key_value(spec.name)
    except nats.js.errors.BucketNotFoundError:
        await js.create_key_value(
            KeyValueConfig(bucket=spec.name, history=spec.history, storage=StorageType.FILE, direct=True)
        )


async def verify(bus: Bus, *names: str) -> None:
    """Check the streams that this service depends on.

    Raises:
        Unavailable: a stream is missing, kept in memory, unbounded, or discards what it must not.

    """
    wanted = {spec.name: spec for spec in STREAMS}
    for name in names:
        try:
            config = (await bus.js.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            raise Unavailable(f"stream {name} does not exist: run `make migrate`") from None
        spec = wanted[name]
        if config.storage != StorageType.FILE or config.discard != DISCARD[spec.discard]:
            raise Unavailable(f"stream {name} must be file-backed with discard={spec.discard}: run `make migrate`")
        if not config.max_bytes or config.max_bytes <= 0:
            raise Unavailable(f"stream {name} has no size limit: run `make migrate`")

"""An S3 bucket: one gzipped NDJSON object per batch and log type, named by its range, so that a retry overwrites it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import obstore
from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.settings import CommonSettings
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store
from pydantic import Field, SecretStr

from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Chunk, Limits, LogTypeSet, Refusal, Target

MIB = 1024 * 1024
TIMEOUT_SECONDS = 60.0
GZIP_LEVEL = 1  # logs shrink tenfold at the cheapest level already
GZIP_FORMAT = 16 + zlib.MAX_WBITS


class Settings(CommonSettings):
    """Settings of the S3 destination."""

    s3_endpoint: str = Field("", description="URL of the S3 API; empty: Amazon's")
    s3_bucket: str = Field(description="bucket")
    s3_region: str = Field("us-east-1", description="region")
    s3_access_key: str = Field(description="access key id")
    s3_secret_key: SecretStr = Field(description="secret access key")
    s3_prefix: str = Field("logs", description="first part of object names")
    s3_log_types: LogTypeSet = Field(frozenset(LOG_TYPES), description="log types that go to S3, comma separated")
    s3_batch_seconds: float = Field(5.0, description="how long lines wait for company", ge=0)
    s3_batch_bytes: int = Field(8 * MIB, description="size of a batch before gzip, in bytes", gt=0)


def create(settings: Settings) -> S3Sink:
    """Make the sink."""
    store = S3Store(
        settings.s3_bucket,
        endpoint=settings.s3_endpoint or None,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key,
        secret_access_key=settings.s3_secret_key.get_secret_value(),
        client_options={"allow_http": True, "timeout": timedelta(seconds=TIMEOUT_SECONDS)},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},  # drain has a back-off of its own
    )
    return S3Sink(
        store,
        prefix=settings.s3_prefix,
        log_types=settings.s3_log_types,
        batch_seconds=settings.s3_batch_seconds,
        batch_bytes=settings.s3_batch_bytes,
    )


class S3Sink:
    """Puts `<prefix>/<type>/date=YYYY-MM-DD/hour=HH/<first>-<last>.ndjson.gz`."""

    name = "s3"

    def __init__(
        self,
        store: S3Store,
        *,
        prefix: str,
        log_types: frozenset[str] = frozenset(LOG_TYPES),
        batch_seconds: float = 5.0,
        batch_bytes: int = 8 * MIB,
    ) -> None:
        self.log_types = log_types
        self.limits = Limits(batch_bytes=batch_bytes, batch_lines=1_000_000, batch_seconds=batch_seconds)
        self._store = store
        self._prefix = prefix.strip("/")

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """Return the object's name below its log type; the hour is the one in which its first message was stored."""
        hour = started_at.astimezone(UTC).strftime("date=%Y-%m-%d/hour=%H")
        stem = f"{hour}/{first_sequence:020d}-{last_sequence:020d}"
        name, copy = f"{stem}.ndjson.gz", 0
        while await self._exists(name):
            copy += 1
            name = f"{stem}.{copy}.ndjson.gz"
        return {"object": name}

    async def _exists(self, name: str) -> bool:
        """Whether the name is taken: by a stream that was deleted and made again, whose numbers begin anew."""
        for log_type in sorted(self.log_types):
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await obstore.head_async(self._store, self._path(log_type, name))
            except (FileNotFoundError, NotFoundError):
                continue
            except (BaseError, OSError, TimeoutError) as error:
                raise DestinationDown(f"{name}: {type(error).__name__}: {str(error)[:300]}") from error
            return True
        return False

    def _path(self, log_type: str, name: str) -> str:
        return "/".join(part for part in (self._prefix, log_type, name) if part)

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Put one object per log type of the batch."""
        for log_type, chunks in batch.by_type().items():
            name = self._path(log_type, str(target["object"]))
            body = await asyncio.to_thread(_gzip, chunks)
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await obstore.put_async(
                        self._store, name, body, attributes={"Content-Type": "application/gzip"}, use_multipart=False
                    )
            except (BaseError, OSError, TimeoutError) as error:
                raise DestinationDown(f"{name}: {type(error).__name__}: {str(error)[:300]}") from error
        return []

    async def close(self) -> None:
        """The client keeps nothing that must be given back."""


def _gzip(chunks: Sequence[Chunk]) -> bytes:
    """Compress without a time stamp: the same range gives the same bytes."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
    parts = [packer.compress(chunk.body) for chunk in chunks]
    return b"".join([*parts, packer.flush()])

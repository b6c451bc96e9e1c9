"""An S3 bucket: one gzipped NDJSON object per batch and log type, named by its range, so that a retry overwrites it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import obstore
from flotilla_common.contracts.logs import LOG_TYPES
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Kind, Limits, Refusal, Target

MIB = 1024 * 1024
TIMEOUT_SECONDS = 60.0
GZIP_LEVEL = 1  # logs shrink tenfold at the cheapest level already
GZIP_FORMAT = 16 + zlib.MAX_WBITS


class Settings(BaseModel):
    """Settings of an S3 destination."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str = Field("", description="URL of the S3 API; empty: Amazon's")
    bucket: str = Field(description="bucket", min_length=1)
    region: str = Field("us-east-1", description="region")
    access_key: str = Field(description="access key id")
    secret_key: SecretStr = Field(description="secret access key")
    prefix: str = Field("logs", description="first part of object names")


def create(settings: Settings) -> S3Sink:
    """Make the sink."""
    store = S3Store(
        settings.bucket,
        endpoint=settings.endpoint or None,
        region=settings.region,
        access_key_id=settings.access_key,
        secret_access_key=settings.secret_key.get_secret_value(),
        client_options={"allow_http": True, "timeout": timedelta(seconds=TIMEOUT_SECONDS)},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},  # drain has a back-off of its own
    )
    return S3Sink(store, settings.prefix)


class S3Sink:
    """Puts `<prefix>/<type>/date=YYYY-MM-DD/hour=HH/<first>-<last>.ndjson.gz`."""

    replaces = True

    def __init__(self, store: S3Store, prefix: str) -> None:
        self.limits = Limits(batch_bytes=8 * MIB, batch_lines=1_000_000, batch_seconds=5.0)
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
        for log_type in LOG_TYPES:
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
            body = await asyncio.to_thread(_gzip, [chunk.body for chunk in chunks])
            await self._put(self._path(log_type, str(target["object"])), body)
        return []

    async def try_out(self, line: bytes) -> str:
        """Put an object with this line alone."""
        name = self._path("test", "test.ndjson.gz")
        await self._put(name, _gzip([line + b"\n"]))
        return name

    async def _put(self, name: str, body: bytes) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await obstore.put_async(
                    self._store, name, body, attributes={"Content-Type": "application/gzip"}, use_multipart=False
                )
        except (BaseError, OSError, TimeoutError) as error:
            raise DestinationDown(f"{name}: {type(error).__name__}: {str(error)[:300]}") from error

    async def close(self) -> None:
        """The client keeps nothing that must be given back."""


def _gzip(bodies: Sequence[bytes]) -> bytes:
    """Compress without a time stamp: the same range gives the same bytes."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
    parts = [packer.compress(body) for body in bodies]
    return b"".join([*parts, packer.flush()])


KIND = Kind(Settings, create)

"""An S3 bucket: objects named by a batch's range, so that a retry overwrites them. See docs/logs/s3.md.

What the objects of a batch are is told by its lines and by what was recorded of it. Settings that change between a
try and its retry hold from the next batch on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import obstore
from flotilla_common.contracts.logs import LOG_TYPES
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Chunk, Kind, Limits, Refusal, Target
from log_shipper.sinks.s3 import ndjson, parquet
from log_shipper.sinks.s3.layout import Format, Layout, Plan, hour_of

MIB = 1024 * 1024
TIMEOUT_SECONDS = 60.0
WORDS_CHARACTERS = 250  # of an error
UPLOADS = 8  # at once, of the objects of a batch
TYPES = {"ndjson": "application/gzip", "parquet": "application/vnd.apache.parquet"}
BY_HOUR = Limits(batch_bytes=8 * MIB, batch_lines=1_000_000, batch_seconds=5.0, most_bytes=64 * MIB)
LARGE = Limits(batch_bytes=16 * MIB, batch_lines=1_000_000, batch_seconds=60.0, most_bytes=64 * MIB)
"""Where a batch becomes many objects, or files that are read whole: each costs a request to write and one to read."""


class Settings(BaseModel):
    """Settings of an S3 destination."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str = Field("", description="URL of the S3 API; empty: Amazon's")
    bucket: str = Field(description="bucket", min_length=1)
    region: str = Field("us-east-1", description="region")
    access_key: str = Field(description="access key id")
    secret_key: SecretStr = Field(description="secret access key")
    prefix: str = Field("logs", description="first part of object names", max_length=256)
    format: Format = Field("ndjson", description="ndjson (gzipped, lines byte for byte) or parquet")
    layout: Layout = Field("hour", description="hour: an object per log type; query: result lines by query")
    most_queries: int = Field(
        100, description="queries of a batch that have an object each; the others share one", ge=1, le=1000
    )


def create(settings: Settings) -> S3Sink:
    """Make the sink."""
    endpoint: dict[str, Any] = {"endpoint": settings.endpoint} if settings.endpoint else {}  # obstore takes no None
    store = S3Store(
        settings.bucket,
        region=settings.region,
        access_key_id=settings.access_key,
        secret_access_key=settings.secret_key.get_secret_value(),
        client_options={"allow_http": True, "timeout": timedelta(seconds=TIMEOUT_SECONDS)},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},  # drain has a back-off of its own
        **endpoint,
    )
    return S3Sink(store, settings)


class S3Sink:
    """Puts `<prefix>/<type>/[query=NAME/]date=YYYY-MM-DD/hour=HH/<first>-<last>.<format>`."""

    replaces = True

    def __init__(self, store: S3Store, settings: Settings) -> None:
        is_large = settings.layout == "query" or settings.format == "parquet"
        self.limits = LARGE if is_large else BY_HOUR
        self._store = store
        self._bucket = settings.bucket
        self._settings = settings
        self._prefix = settings.prefix.strip("/")

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """Return the objects' name below their folders, and what else a retry must do as the first try did.

        The hour is the one in which the first message was stored. A range comes again in replays, of dead letters, and
        of a stream that was made anew, with other lines perhaps: by hour, a name that is taken is not planned again; by
        query, where that cannot be looked up, each plan has a name of its own.
        """
        stem, copy = f"{hour_of(started_at)}/{first_sequence:020d}-{last_sequence:020d}", 0
        if self._settings.layout == "query":
            return self._plan(f"{stem}.{secrets.token_hex(8)}").target()
        plan = self._plan(stem)
        while await self._exists(plan):
            copy += 1
            plan = self._plan(f"{stem}.{copy}")
        return plan.target()

    def _plan(self, stem: str) -> Plan:
        settings = self._settings
        return Plan(self._prefix, stem, settings.format, settings.layout, settings.most_queries)

    async def _exists(self, plan: Plan) -> bool:
        """Whether an object has the name, of whatever log type."""
        return any(await asyncio.gather(*(self._is_taken(plan.name(log_type)) for log_type in LOG_TYPES)))

    async def _is_taken(self, name: str) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await obstore.head_async(self._store, name)
        except (FileNotFoundError, NotFoundError):
            return False
        except (BaseError, OSError, TimeoutError) as error:
            raise self._down(name, error) from error
        return True

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Put the objects of the batch, some at once; all are there afterwards."""
        plan = Plan.of(target, self._prefix)
        objects = plan.objects(batch)
        slots = asyncio.Semaphore(UPLOADS)
        try:
            async with asyncio.TaskGroup() as uploads:
                while (made := await asyncio.to_thread(_next, objects, plan)) is not None:
                    await slots.acquire()
                    upload = uploads.create_task(self._put(*made, TYPES[plan.format]))
                    upload.add_done_callback(lambda _: slots.release())
        except* DestinationDown as group:
            downs = group.exceptions
        else:
            downs = ()
        if downs:
            raise DestinationDown(str(downs[0]))
        return []

    async def try_out(self, line: bytes) -> str:
        """Put an object with this line alone."""
        name = "/".join(part for part in (self._prefix, "test", "test.ndjson.gz") if part)
        await self._put(name, ndjson.pack([Chunk(0, "test", 1, line + b"\n")]), TYPES["ndjson"])
        return name

    async def _put(self, name: str, body: bytes, content_type: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await obstore.put_async(
                    self._store, name, body, attributes={"Content-Type": content_type}, use_multipart=False
                )
        except (BaseError, OSError, TimeoutError, ValueError) as error:
            raise self._down(name, error) from error

    def _down(self, name: str, error: Exception) -> DestinationDown:
        """Return what people are told: first what they can do, then what was said."""
        match error:
            case PermissionDeniedError() | UnauthenticatedError():
                what = "access is denied: the key needs s3:PutObject, s3:GetObject and s3:ListBucket"
            case NotFoundError() | FileNotFoundError():
                what = "there is no such bucket"
            case TimeoutError():
                what = f"no answer in {TIMEOUT_SECONDS:g} s"
            case _:
                what = type(error).__name__
        return DestinationDown(f"bucket {self._bucket}: {what} ({name}: {_shortened(' '.join(str(error).split()))})")

    async def close(self) -> None:
        """The client keeps nothing that must be given back."""


def _shortened(text: str) -> str:
    """Return a text without its middle: it begins with what was tried and ends with what S3 said."""
    return text if len(text) <= WORDS_CHARACTERS else f"{text[:40]} ... {text[40 - WORDS_CHARACTERS :]}"


def _next(objects: Iterator[tuple[str, str, list[Chunk]]], plan: Plan) -> tuple[str, bytes] | None:
    """Make the next object, for a thread; None: there is none."""
    for name, log_type, chunks in objects:
        return name, ndjson.pack(chunks) if plan.format == "ndjson" else parquet.pack(log_type, chunks)
    return None


KIND = Kind(Settings, create)

"""Files `result.log` and `status.log` in a directory: one line per log line, for tools that tail.

A batch is recorded with the sizes that the files had before it. A retry truncates them to those sizes first. A file
whose size was not recorded is never cut. Replicas that share this destination must share the directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import structlog
from flotilla_common.contracts.logs import LOG_TYPES
from pydantic import BaseModel, ConfigDict, Field

from log_shipper.errors import DestinationDown, LeaseLost
from log_shipper.sinks import Batch, Chunk, Kind, Limits, Refusal, Target

log = structlog.get_logger()

MIB = 1024 * 1024
MODE = 0o640  # lines hold facts about hosts


class Settings(BaseModel):
    """Settings of a file destination."""

    model_config = ConfigDict(extra="forbid")

    directory: Path = Field(description="directory of result.log and status.log; replicas must share it")


class FileSink:
    """Appends to one file per log type."""

    replaces = True

    def __init__(self, directory: Path) -> None:
        self.limits = Limits(batch_bytes=8 * MIB, batch_lines=100_000, batch_seconds=0.05)
        self._directory = directory

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """Return log type -> the size of its file now, also of types that are filtered now: a retry may take them."""
        del first_sequence, last_sequence, started_at
        return await asyncio.to_thread(self._sizes)

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Write and fsync; files are as `target` says plus this batch afterwards."""
        try:
            await asyncio.to_thread(self._write, batch, target)
        except OSError as error:
            raise DestinationDown(f"{self._directory}: {error}") from error
        return []

    async def try_out(self, line: bytes) -> str:
        """Write `test.log`, with this line alone: the others hold what hosts sent and nothing else."""
        path = self._path("test")
        try:
            await asyncio.to_thread(_write_alone, path, line + b"\n")
        except OSError as error:
            raise DestinationDown(f"{path}: {error}") from error
        return str(path)

    async def close(self) -> None:
        """Nothing is kept open between batches, so that files may be moved away (rotation)."""

    def _path(self, log_type: str) -> Path:
        return self._directory / f"{log_type}.log"

    def _sizes(self) -> Target:
        try:
            return {name: _size(self._path(name)) for name in LOG_TYPES}
        except OSError as error:
            raise DestinationDown(f"{self._directory}: {error}") from error

    def _write(self, batch: Batch, target: Target) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._fence(batch.fence):
            for log_type, chunks in batch.by_type().items():
                _append(self._path(log_type), target.get(log_type), chunks)
            _fsync_directory(self._directory)

    @contextmanager
    def _fence(self, fence: tuple[int, int]) -> Iterator[None]:
        """Hold the directory; refuse a batch older than one that was written here.

        A worker that was stopped in mid-flight and wakes after another took over would otherwise truncate what the
        other wrote.
        """
        descriptor = os.open(self._directory / ".batch", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            newest = os.pread(descriptor, 64, 0)
            own = b"%020d-%020d" % fence
            if newest > own:
                raise LeaseLost(f"batch {newest.decode()} is in the files already, this is {own.decode()}")
            os.pwrite(descriptor, own, 0)
            yield
        finally:
            os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _append(path: Path, offset: int | None, chunks: Sequence[Chunk]) -> None:
    """Leave the file with its first `offset` bytes (None: all of them) and the chunks, on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        size = os.fstat(descriptor).st_size
        if offset is None:
            offset = size
        elif size < offset:  # moved away between the record and now: the batch begins the new file
            log.warning("log file is shorter than recorded", path=str(path), size=size, recorded=offset)
            offset = size
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        for chunk in chunks:
            _write_all(descriptor, chunk.body)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_alone(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    try:
        _write_all(descriptor, body)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(descriptor, view) :]


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


KIND = Kind(Settings, lambda settings: FileSink(settings.directory), is_local=True)

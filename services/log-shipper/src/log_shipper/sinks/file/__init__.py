"""Files `result.log` and `status.log` in a directory: one line per log line, for tools that tail.

A batch is recorded with the sizes that the files had before it, and which files those were. A retry truncates them to
those sizes first. A file whose size was not recorded is never cut, nor one that has another's name since (rotation, by
us or by others). Replicas that share this destination must share the directory. See docs/logs/file.md.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.errors import LeaseLost
from pydantic import BaseModel, ConfigDict, Field

from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Chunk, Kind, Limits, Refusal, Target
from log_shipper.sinks.file.places import MODE, Place, Places, Planned, fsync_directory, write_all
from log_shipper.sinks.file.rotation import Rotation, Tidying, name_away, put_away

log = structlog.get_logger()

MIB = 1024 * 1024
TIDY_SECONDS = 3600.0  # between looks for what is too old, when no file is put away


class Settings(BaseModel):
    """Settings of a file destination."""

    model_config = ConfigDict(extra="forbid")

    directory: Path = Field(description="directory of result.log and status.log; replicas must share it")
    rotate_bytes: int | None = Field(None, description="a file that is as large is put away", ge=1024)
    rotate_seconds: int | None = Field(
        None, description="a file that was begun in an earlier period of so many seconds (UTC) is put away", ge=60
    )
    gzip: bool = Field(False, description="whether files that were put away are compressed")
    keep_files: int = Field(3, description="how many files that were put away are kept per log type; 0: all", ge=0)
    keep_days: float = Field(28, description="how many days they are kept; 0: for ever", ge=0, le=36_500)


def create(settings: Settings) -> FileSink:
    """Make the sink."""
    rotation = Rotation(
        settings.rotate_bytes, settings.rotate_seconds, settings.gzip, settings.keep_files, settings.keep_days
    )
    return FileSink(settings.directory, rotation)


def _now() -> datetime:
    return datetime.now(UTC)


class FileSink:
    """Appends to one file per log type."""

    replaces = True

    def __init__(
        self, directory: Path, rotation: Rotation | None = None, *, clock: Callable[[], datetime] = _now
    ) -> None:
        self.limits = Limits(batch_bytes=8 * MIB, batch_lines=100_000, batch_seconds=0.05)
        self._directory = directory
        self._rotation = rotation or Rotation()
        self._clock = clock
        self._tidying = Tidying(directory, self._rotation)
        self._tidies: asyncio.Task[None] | None = None
        self._tidied_at = -TIDY_SECONDS

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """Return log type -> the size of its file now, also of types that are filtered now: a retry may take them.

        `inodes`: which files these are. `away`: the names of those that are to be put away first.
        """
        del last_sequence, started_at
        try:
            return await asyncio.to_thread(self._plan, first_sequence)
        except OSError as error:
            raise DestinationDown(f"{self._directory}: {error}") from error

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Write and fsync; files are as `target` says plus this batch afterwards."""
        try:
            await asyncio.to_thread(self._write, batch, target)
        except OSError as error:
            raise DestinationDown(f"{self._directory}: {error}") from error
        if self._rotation.is_on and (target.get("away") or time.monotonic() >= self._tidied_at + TIDY_SECONDS):
            self._tidy()
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
        """End what is done beside deliveries. No file is kept open between batches, so that others may move them."""
        self._tidying.stop()
        if self._tidies is not None:
            await asyncio.wait([self._tidies])

    async def tidied(self) -> None:
        """Wait until files that were put away are compressed and removed as they should be."""
        if self._tidies is not None:
            await asyncio.wait([self._tidies])

    def _tidy(self) -> None:
        if self._tidies is None or self._tidies.done():
            self._tidied_at = time.monotonic()
            self._tidies = asyncio.create_task(self._run_tidying(), name=f"tidy {self._directory}")

    async def _run_tidying(self) -> None:
        try:
            await asyncio.to_thread(self._tidying.run, self._clock())
        except OSError as error:
            log.warning("log files are not tidied", directory=str(self._directory), error=str(error))

    def _path(self, log_type: str) -> Path:
        return self._directory / f"{log_type}.log"

    def _plan(self, first_sequence: int) -> Target:
        places, now = Places.read(self._directory), self._clock()
        sizes: dict[str, int] = {}
        inodes: dict[str, int] = {}
        away: dict[str, str] = {}
        for name in LOG_TYPES:
            inodes[name], sizes[name] = _stat(self._path(name))
            if self._rotation.is_due(sizes[name], places.begun_at(name, inodes[name]), now):
                away[name] = name_away(name, now, first_sequence)
        return {**sizes, "inodes": inodes} | ({"away": away} if away else {})

    def _write(self, batch: Batch, target: Target) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._fence(batch.fence):
            places = Places.read(self._directory).of_batch(batch.fence)
            for log_type, chunks in batch.by_type().items():
                self._append(log_type, chunks, Planned.of(target, log_type), places)
            fsync_directory(self._directory)

    def _append(self, log_type: str, chunks: Sequence[Chunk], planned: Planned, places: Places) -> None:
        """Leave the file with what it held before the batch and the chunks, on the disk."""
        path = self._path(log_type)
        expected = places.begin_of(log_type)
        if expected is None:
            expected = planned.place
            if planned.away is not None and expected is not None and _is_there(path, expected):
                put_away(self._directory, log_type, planned.away)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            offset = self._begin(log_type, os.fstat(descriptor), expected, places)
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
            for chunk in chunks:
                write_all(descriptor, chunk.body)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _begin(self, log_type: str, found: os.stat_result, expected: Place | None, places: Places) -> int:
        """Return the offset where the batch begins; noted first, when it is not the one that was recorded."""
        is_as_recorded = expected is not None and expected.is_in(found)
        is_of_known_age = places.begun_at(log_type, found.st_ino) is not None or self._rotation.seconds is None
        offset = expected.offset if expected is not None and is_as_recorded else found.st_size
        if is_as_recorded and is_of_known_age:
            return offset
        if expected is not None and expected.inode and not is_as_recorded:
            log.info("a batch begins another file than recorded", log_type=log_type, recorded=expected, offset=offset)
        places.begins[log_type] = found.st_ino, offset
        if not found.st_size or places.begun_at(log_type, found.st_ino) is None:
            places.begun[log_type] = found.st_ino, int(self._clock().timestamp())
        places.write(self._directory)
        return offset

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
                raise LeaseLost(
                    f"batch {newest.decode()} is in the files already, this is {own.decode()}: a worker that took over "
                    f"wrote it, or another destination with the same directory (docs/logs/file.md)"
                )
            os.pwrite(descriptor, own, 0)
            yield
        finally:
            os.close(descriptor)


def _stat(path: Path) -> tuple[int, int]:
    """Return a file's inode and size; zeros when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size


def _is_there(path: Path, place: Place) -> bool:
    try:
        return place.is_in(path.stat())
    except FileNotFoundError:
        return False


def _write_alone(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    try:
        write_all(descriptor, body)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


KIND = Kind(Settings, create, is_local=True, place=lambda settings: os.path.realpath(settings.directory))

"""Rotation: when a file is put away, under which name, how long it is kept, and its compression.

A file that was put away is never written again. So compressing and removing need not be in step with deliveries: they
run beside them, one process at a time, and begin anew after a crash.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flotilla_common.contracts.logs import LOG_TYPES
from isal import isal_zlib

from log_shipper.sinks.file.places import MODE, fsync_directory, write_all

BLOCK_BYTES = 1024 * 1024
GZIP_LEVEL = 2
GZIP_FORMAT = 16 + isal_zlib.MAX_WBITS
STAMP = "%Y%m%dT%H%M%SZ"
PART = ".gz.part"  # a compressed file that is not complete
_NAME = re.compile(rf"({'|'.join(LOG_TYPES)})-(\d{{8}}T\d{{6}}Z)-\d{{20}}(?:\.\d+)?\.log(\.gz|\.gz\.part)?")


@dataclass(frozen=True)
class Rotation:
    """What people want of it. The default is none at all: somebody else does it, or nobody."""

    size_bytes: int | None = None
    seconds: int | None = None
    gzip: bool = False
    keep_files: int = 0  # 0: all
    keep_days: float = 0.0  # 0: for ever

    @property
    def is_on(self) -> bool:
        """Whether files are put away at all."""
        return self.size_bytes is not None or self.seconds is not None

    def is_due(self, size: int, begun: int | None, now: datetime) -> bool:
        """Whether a file of this size, begun then (Unix time), is to be put away."""
        if not size:
            return False
        if self.size_bytes is not None and size >= self.size_bytes:
            return True
        return self.seconds is not None and begun is not None and _period(now, self.seconds) > begun // self.seconds


def _period(now: datetime, seconds: int) -> int:
    return int(now.timestamp()) // seconds


def name_away(log_type: str, now: datetime, first_sequence: int) -> str:
    """Return the name of a file that is put away before the batch with this first sequence. Names sort by time."""
    return f"{log_type}-{now.astimezone(UTC).strftime(STAMP)}-{first_sequence:020d}.log"


def put_away(directory: Path, log_type: str, name: str) -> None:
    """Rename a log file; a name that is taken is not overwritten."""
    stem, copy = name.removesuffix(".log"), 0
    while any(os.path.lexists(directory / f"{name}{suffix}") for suffix in ("", ".gz")):
        copy += 1
        name = f"{stem}.{copy}.log"
    (directory / f"{log_type}.log").rename(directory / name)
    fsync_directory(directory)


@dataclass(frozen=True)
class _Away:
    """A file that was put away; `names` are those of its plain and its compressed form, as far as they exist."""

    stem: str
    at: datetime
    names: frozenset[str]


class Tidying:
    """Compresses and removes files that were put away. Files with any other name, and links, are not touched."""

    def __init__(self, directory: Path, rotation: Rotation) -> None:
        self._directory = directory
        self._rotation = rotation
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End soon; what is half done is begun anew another time."""
        self._stopped.set()

    def run(self, now: datetime) -> None:
        """Do what is to be done; nothing when another process is at it.

        Raises:
            OSError: a file cannot be read, written or removed.

        """
        with _alone(self._directory) as is_ours:
            if not is_ours:
                return
            for name in self._names():
                if name.endswith(PART):
                    (self._directory / name).unlink(missing_ok=True)
            for log_type in LOG_TYPES:
                for one in self._kept(log_type, now):
                    if self._rotation.gzip and not self._stopped.is_set():
                        self._compress(one)
            fsync_directory(self._directory)

    def _names(self) -> list[str]:
        """Return the names of ours."""
        return sorted(
            entry.name
            for entry in os.scandir(self._directory)
            if _NAME.fullmatch(entry.name) and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
        )

    def _files(self, log_type: str) -> list[_Away]:
        """Return the files of a log type, the newest first."""
        found: dict[str, set[str]] = {}
        for name in self._names():
            if name.startswith(f"{log_type}-") and not name.endswith(PART):
                found.setdefault(name.removesuffix(".gz"), set()).add(name)
        return [
            _Away(stem, datetime.strptime(stem.split("-")[1], STAMP).replace(tzinfo=UTC), frozenset(found[stem]))
            for stem in sorted(found, reverse=True)
        ]

    def _kept(self, log_type: str, now: datetime) -> list[_Away]:
        """Remove what is not kept any longer; return the others."""
        rotation, kept = self._rotation, []
        for number, one in enumerate(self._files(log_type)):
            is_many = bool(rotation.keep_files) and number >= rotation.keep_files
            is_old = bool(rotation.keep_days) and now - one.at > timedelta(days=rotation.keep_days)
            if not (is_many or is_old):
                kept.append(one)
                continue
            for name in one.names:
                (self._directory / name).unlink(missing_ok=True)
        return kept

    def _compress(self, one: _Away) -> None:
        """Put a compressed form in the place of the plain one; it has its name only when it is complete."""
        plain, whole = self._directory / one.stem, self._directory / f"{one.stem}.gz"
        if plain.name not in one.names:
            return
        if whole.name not in one.names:
            part = self._directory / f"{one.stem}{PART}"
            if not self._pack(plain, part):
                return
            part.rename(whole)
            fsync_directory(self._directory)
        plain.unlink(missing_ok=True)

    def _pack(self, plain: Path, part: Path) -> bool:
        """Write the compressed form to the disk; return whether it is complete."""
        packer: Any = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, GZIP_FORMAT)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            with plain.open("rb", buffering=0) as file:
                while block := file.read(BLOCK_BYTES):
                    if self._stopped.is_set():
                        return False
                    write_all(descriptor, packer.compress(block))
            write_all(descriptor, packer.flush())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return True


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Keep other processes from tidying; yield whether none of them is at it."""
    descriptor = os.open(directory / ".tidying", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)

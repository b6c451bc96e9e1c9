"""Where a batch begins in the files: what was recorded with it, and what turned out otherwise since.

A place is a file, told by its inode, and an offset in it. A retry may cut a file only where the batch began, and only
the very file in which it began: after a rotation, by us or by others, another file has the name. So whenever a batch
does not begin where it was recorded, its place is noted in `.places` before the first byte is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

FILE = ".places"
MODE = 0o640  # lines hold facts about hosts


class Place(NamedTuple):
    """A file and an offset in bytes. Inode None: it was recorded by a release that did not say; 0: there was none."""

    inode: int | None
    offset: int

    def is_in(self, found: os.stat_result) -> bool:
        """Whether this is the file and it is as long."""
        return self.inode in {None, found.st_ino} and found.st_size >= self.offset


class Planned(NamedTuple):
    """What was recorded of one log type."""

    place: Place | None
    away: str | None  # the name under which its file is put away first

    @classmethod
    def of(cls, target: Mapping[str, Any], log_type: str) -> Planned:
        """Read a target."""
        size = target.get(log_type)
        place = None if size is None else Place(target.get("inodes", {}).get(log_type), int(size))
        return cls(place, target.get("away", {}).get(log_type))


class Places(msgspec.Struct):
    """The content of `.places`."""

    fence: tuple[int, int] = (0, 0)
    begins: dict[str, tuple[int, int]] = {}
    """Log type -> inode and offset where the batch with this fence begins, if it is not where it was recorded."""
    begun: dict[str, tuple[int, int]] = {}
    """Log type -> inode of its file, and when we first wrote to it (Unix time, seconds)."""

    @classmethod
    def read(cls, directory: Path) -> Places:
        """Read the file; there need not be one.

        Raises:
            OSError: it cannot be read, or somebody else has written to it.

        """
        try:
            return _decode((directory / FILE).read_bytes())
        except FileNotFoundError:
            return cls()
        except msgspec.DecodeError as error:
            raise OSError(f"{directory / FILE} makes no sense: {error}") from error

    def of_batch(self, fence: tuple[int, int]) -> Places:
        """Return what holds for a batch."""
        return self if self.fence == fence else Places(fence, {}, self.begun)

    def begin_of(self, log_type: str) -> Place | None:
        """Return where the batch begins, if that was noted."""
        found = self.begins.get(log_type)
        return None if found is None else Place(*found)

    def begun_at(self, log_type: str, inode: int) -> int | None:
        """Return when this file was begun, if that is known."""
        found = self.begun.get(log_type)
        return found[1] if found is not None and found[0] == inode else None

    def write(self, directory: Path) -> None:
        """Replace the file, on the disk."""
        path = directory / f"{FILE}.new"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
        try:
            write_all(descriptor, msgspec.json.encode(self))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.replace(directory / FILE)
        fsync_directory(directory)


_decode = msgspec.json.Decoder(Places).decode


def write_all(descriptor: int, body: bytes) -> None:
    """Write all of it."""
    view = memoryview(body)
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_directory(directory: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Measure the parts of the door that are asked for, one after the other."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.door import campaigns, kept, logs, memory, plain, polls, workers, writes
from bench.door.place import POLLING, Place
from bench.house import House
from bench.load_client import LoadFailed
from bench.parts import rows_of
from bench.rounds import Pace
from bench.rows import Row
from bench.selfcheck import check_load_client

PARTS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "polls": polls.rows,
    "kept": kept.rows,
    "plain": plain.rows,
    "logs": logs.rows,
    "writes": writes.rows,
    "memory": memory.rows,
    "campaigns": campaigns.rows,
    "workers": workers.rows,
}
FILES = 18_000  # 6,000 connections, and room


def measure(parts: Iterable[str], directory: Path, pace: Pace) -> Iterator[Row]:
    """Yield the rows of these parts, or one that says why the door cannot be measured."""
    allow_files()
    try:
        check_load_client()
    except LoadFailed as error:
        yield Row("the door for hosts", None, "", None, str(error))
        return
    with House(directory, known_hosts=2 * POLLING) as house:
        yield from rows_of("door", parts, PARTS, Place(house, pace))


def allow_files() -> None:
    """Raise our own limit of open files, which servers and client inherit.

    Raises:
        SystemExit: the system does not let us.

    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= FILES:
        return
    if 0 <= hard < FILES:
        raise SystemExit(f"bench: {FILES} open files are needed, {hard} are allowed: ulimit -Hn {FILES}, as root")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))

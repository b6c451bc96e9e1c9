"""Destinations. One file each: a class that is a `Sink`, its `Settings`, and `create(settings)`.

A new file here is a new kind that FLOTILLA_DESTINATIONS may name; nothing else has to change.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Annotated, Any, Protocol

from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.settings import load_or_exit
from pydantic import BeforeValidator
from pydantic_settings import NoDecode

Target = dict[str, Any]
"""What a sink decided about where a batch goes, as JSON. Recorded before the first try, the same at every retry."""


def _log_types_of(value: object) -> object:
    """Read the comma separated log types of a setting. None at all is a mistake, not a wish."""
    if not isinstance(value, str):
        return value
    names = frozenset(name for part in value.split(",") if (name := part.strip()))
    unknown = names - set(LOG_TYPES)
    if unknown or not names:
        problem = f"unknown log types {', '.join(sorted(unknown))}" if unknown else "no log type"
        message = f"{problem}; there are {', '.join(LOG_TYPES)}"
        raise ValueError(message)
    return names


LogTypeSet = Annotated[frozenset[str], NoDecode, BeforeValidator(_log_types_of)]
"""The type of a setting that lists log types, comma separated."""


@dataclass(frozen=True)
class Limits:
    """When a batch is cut, and how long one line may be. A message larger than a batch is a batch of its own."""

    batch_bytes: int
    batch_lines: int
    batch_seconds: float  # how long the first message of a batch may wait for company
    line_bytes: int | None = None  # longer lines go to stream DEAD


@dataclass(frozen=True)
class Chunk:
    """The lines of one message that this destination takes: NDJSON, byte for byte as the host sent it."""

    sequence: int
    log_type: str
    lines: int
    body: bytes


@dataclass(frozen=True)
class Batch:
    """An exact range of the stream, cut for a destination.

    `fence` grows with every batch of the destination, also when the database was made anew: a sink that can compare
    refuses a batch older than the newest it has seen.
    """

    fence: tuple[int, int]
    first_sequence: int
    last_sequence: int
    started_at: datetime  # custody time of its first message
    chunks: Sequence[Chunk]

    def by_type(self) -> Mapping[str, list[Chunk]]:
        """Return log type -> chunks, in order."""
        found: dict[str, list[Chunk]] = {}
        for chunk in self.chunks:
            found.setdefault(chunk.log_type, []).append(chunk)
        return found


@dataclass(frozen=True)
class Refusal:
    """A line that the destination will never take."""

    sequence: int
    log_type: str
    index: int  # which line of its message, from 0
    line: bytes
    reason: str


class Sink(Protocol):
    """A place that lines go to.

    `deliver` is called again with the same batch and target after any failure, on any replica: whatever an earlier try
    left there must be replaced, not added to.
    """

    name: str
    limits: Limits
    log_types: frozenset[str]  # lines of other types are filtered

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """Decide where a new batch goes. Raises DestinationDown."""

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Deliver a batch, return the lines refused for good. Raises DestinationDown when it must be tried again."""

    async def close(self) -> None:
        """Give back connections and files."""


def kinds() -> tuple[str, ...]:
    """Return the kinds of destinations that exist: the files of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open_sink(kind: str) -> Sink:
    """Read a kind's settings and make its sink; leaves the process with a message when they are wrong."""
    module = import_module(f"{__name__}.{kind}")
    sink: Sink = module.create(load_or_exit(module.Settings))
    return sink

"""Kinds of destinations. One file each: a class that is a `Sink`, its `Settings`, and `KIND`.

A new file here (or a folder, for a kind with more than one file) is a new kind that destinations may name; nothing else
has to change.
"""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

from flotilla_common.contracts.logs import Segment
from pydantic import BaseModel

Target = dict[str, Any]
"""What a sink decided about where a batch goes, as JSON. Recorded before the first try, the same at every retry."""
Position = tuple[int, int]
"""A line's place: the sequence of its message, and which line of it, from 0."""


@dataclass(frozen=True)
class Limits:
    """When a batch is cut, and how long one line may be. A message larger than a batch is a batch of its own."""

    batch_bytes: int
    batch_lines: int
    batch_seconds: float  # how long the first message of a batch may wait for company
    line_bytes: int | None = None  # longer lines go to stream DEAD
    most_bytes: int | None = None  # up to which people may raise `batch_bytes`; None: not at all


@dataclass(frozen=True)
class Line:
    """One line with where it came from; `raw` is as the host sent it, without a newline."""

    sequence: int
    index: int  # which line of its message, from 0
    log_type: str
    host_id: int
    team_id: int  # 0: none
    received_ms: int  # Unix time
    raw: bytes

    @property
    def position(self) -> Position:
        """Return where it stands in the stream."""
        return self.sequence, self.index


@dataclass(frozen=True)
class Chunk:
    """The lines of one message that this destination takes: NDJSON, byte for byte as the hosts sent it."""

    sequence: int
    log_type: str
    lines: int
    body: bytes
    segments: Sequence[Segment] = ()
    indexes: Sequence[int] | None = None  # places of the lines in their message; None: it is taken whole

    def each(self) -> Iterator[Line]:
        """Yield the lines one by one."""
        raws = iter(self.body.split(b"\n"))
        indexes = iter(range(self.lines) if self.indexes is None else self.indexes)
        for segment in self.segments:
            for _ in range(segment.lines):
                yield Line(
                    self.sequence, next(indexes), self.log_type, segment.host_id, segment.team_id,
                    segment.received_ms, next(raws),
                )  # fmt: skip


class Progress:
    """What became of a batch so far, for a sink that sends it in several requests or record by record.

    It outlives failures of one process, so that a retry sends what is missing alone. `accepted`: the destination said
    that it has the line. A line that was sent, and no word came, is doubtful, as often as that happened: so many copies
    of it may stand there for all that anybody knows.
    """

    def __init__(self, doubtful: Iterable[Position] = (), times: int = 1) -> None:
        self.accepted: set[Position] = set()
        self.refusals: list[Refusal] = []
        self.repeated: dict[Position, int] = {}
        """Accepted lines that may stand there more than once: how many copies too many."""
        self._doubts: Counter[Position] = Counter(dict.fromkeys(doubtful, times))

    def accept(self, lines: Iterable[Line]) -> None:
        """Note that the destination has these lines."""
        positions = {line.position for line in lines}
        if self._doubts:
            self.repeated |= {position: times for position in positions if (times := self._doubts[position])}
        self.accepted |= positions

    def doubt(self, lines: Iterable[Line]) -> None:
        """Note that these lines were sent and nobody knows whether they came."""
        self._doubts.update(line.position for line in lines)

    @property
    def most_copies(self) -> int:
        """How many copies there may be of the line that was sent most often without a word."""
        return max(self._doubts.values(), default=0)

    def copies(self, refused: Iterable[Refusal]) -> Iterator[tuple[int, int]]:
        """Yield stream sequences, each with copies that may be there beside what the books say.

        Of an accepted line all but one; of one that is refused in the end every copy.
        """
        for (sequence, _), times in self.repeated.items():
            yield sequence, times
        for refusal in refused:
            if times := self._doubts[refusal.sequence, refusal.index]:
                yield refusal.sequence, times

    def refuse(self, line: Line, reason: str) -> None:
        """Note that the destination will never take this line."""
        self.accepted.add(line.position)
        self.refusals.append(Refusal.of(line, reason))


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
    progress: Progress = field(default_factory=Progress)

    def by_type(self) -> Mapping[str, list[Chunk]]:
        """Return log type -> chunks, in order."""
        found: dict[str, list[Chunk]] = {}
        for chunk in self.chunks:
            found.setdefault(chunk.log_type, []).append(chunk)
        return found

    def missing(self) -> Iterator[Line]:
        """Yield the lines that are neither accepted nor refused yet, in order."""
        accepted = self.progress.accepted
        return (line for chunk in self.chunks for line in chunk.each() if line.position not in accepted)


@dataclass(frozen=True)
class Refusal:
    """A line that the destination will never take."""

    sequence: int
    log_type: str
    index: int  # which line of its message, from 0
    line: bytes
    reason: str

    @classmethod
    def of(cls, line: Line, reason: str) -> Refusal:
        """Return the refusal of a line."""
        return cls(line.sequence, line.log_type, line.index, line.raw, reason)


class Sink(Protocol):
    """A place that lines go to.

    `deliver` is called again with the same batch and target after any failure, on any replica. A sink that `replaces`
    replaces what an earlier try left there. Another one adds to it, and keeps `batch.progress`, so that as few lines as
    can be stand there twice, and the books can say how many.
    """

    limits: Limits
    replaces: bool

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """Decide where a new batch goes. Raises DestinationDown."""

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Deliver a batch, return the lines refused for good. Raises DestinationDown when it must be tried again."""

    async def try_out(self, line: bytes) -> str:
        """Send a line that no host sent, now; return where it is. Raises DestinationDown."""

    async def close(self) -> None:
        """Give back connections and files."""


S = TypeVar("S", bound=BaseModel)


def _never(_: object) -> bool:
    return False


def _nothing() -> None:
    pass


def _nowhere(_: object) -> str | None:
    return None


@dataclass(frozen=True)
class Kind(Generic[S]):
    """A kind of destination. Members of `settings` that are secrets are of a secret type.

    One that `is_local` writes where log-shipper runs: whoever runs that declares it, and nobody makes one by the API.
    The same holds for settings that `borrows_identity` tells: with them it would sign in as log-shipper itself. `claim`
    takes what a kind needs of the process for itself; it is called before the first log line, and doing so again is
    harmless. `place` names what no two destinations may share.
    """

    settings: type[S]
    create: Callable[[S], Sink]
    is_local: bool = False
    borrows_identity: Callable[[S], bool] = _never
    claim: Callable[[], None] = _nothing
    place: Callable[[S], str | None] = _nowhere

    def open(self, settings: Mapping[str, Any]) -> Sink:
        """Make a sink.

        Raises:
            pydantic.ValidationError: the settings are wrong.

        """
        return self.create(self.settings.model_validate(settings))


def kinds() -> tuple[str, ...]:
    """Return the kinds of destinations that exist: the files of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def kind_of(name: str) -> Kind[Any]:
    """Return a kind by its name.

    Raises:
        KeyError: there is none.

    """
    if name not in kinds():
        raise KeyError(name)
    found: Kind[Any] = import_module(f"{__name__}.{name}").KIND
    return found

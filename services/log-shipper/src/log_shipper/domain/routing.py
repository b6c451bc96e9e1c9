"""Which lines of a range a destination gets, which it does not want, and which nobody can deliver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flotilla_common.contracts.logs import Segment

from log_shipper.domain.messages import OpenedMessage
from log_shipper.domain.selecting import NO_FACTS, HostFacts, Selection
from log_shipper.sinks import Chunk, Limits, Refusal
from log_shipper.store.ledger import Tally
from log_shipper.store.stream import StoredMessage


@dataclass
class Routed:
    """A range after routing. Every line of it is counted once in `tally`."""

    chunks: list[Chunk] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    poison: list[tuple[StoredMessage, str]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    messages: dict[int, StoredMessage] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        """How many lines the destination gets."""
        return sum(chunk.lines for chunk in self.chunks)

    def count_received(self, counted_from: int) -> None:
        """Count as received the messages up to here: the intake has not, for this destination."""
        for sequence, message in self.messages.items():
            if sequence <= counted_from:
                self.tally.add(message.log_type, message.hour, "received", message.lines)

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """Move lines that the destination has refused from delivered to dead-lettered."""
        for refusal in refusals:
            hour = self.messages[refusal.sequence].hour
            self.tally.add(refusal.log_type, hour, "delivered", -1)
            self.tally.add(refusal.log_type, hour, "dead_lettered", 1)
            self.refusals.append(refusal)


def route(
    opened: Iterable[OpenedMessage],
    poison: Iterable[tuple[StoredMessage, str]],
    selection: Selection,
    limits: Limits,
    facts: HostFacts = NO_FACTS,
) -> Routed:
    """Sort the lines of messages."""
    routed = Routed()
    for message, reason in poison:
        routed.messages[message.sequence] = message
        routed.poison.append((message, reason))
        routed.tally.add(message.log_type, message.hour, "dead_lettered", message.lines)
    for one in opened:
        message = one.message
        routed.messages[message.sequence] = message
        if not selection.takes_type(message.log_type):
            routed.tally.add(message.log_type, message.hour, "filtered", message.lines)
        elif selection.takes_all and _is_short(one.body, limits):
            _keep(routed, Chunk(message.sequence, message.log_type, message.lines, one.body, one.segments, one.indexes))
        else:
            _pick(routed, one, selection, limits, facts)
    return routed


def _is_short(body: bytes, limits: Limits) -> bool:
    """Whether no line can be too long, seen without looking at them."""
    return limits.line_bytes is None or len(body) <= limits.line_bytes


def _keep(routed: Routed, chunk: Chunk) -> None:
    if chunk.lines:
        routed.chunks.append(chunk)
    message = routed.messages[chunk.sequence]
    routed.tally.add(chunk.log_type, message.hour, "delivered", chunk.lines)


def _pick(routed: Routed, one: OpenedMessage, selection: Selection, limits: Limits, facts: HostFacts) -> None:
    """Take a message apart, line by line where that is needed."""
    message = one.message
    picked = _Picked(message, limits)
    number = 0
    for segment, part in one.parts():
        if selection.takes_host(segment, facts):
            if selection.takes_all_lines and _is_short(part, limits):
                picked.take(segment, part, one.places(number, segment.lines))
            else:
                picked.choose(segment, part, one.places(number, segment.lines), selection)
        number += segment.lines
    body = b"".join(picked.parts)
    _keep(
        routed,
        Chunk(message.sequence, message.log_type, len(picked.indexes), body, picked.segments, picked.indexes),
    )
    routed.refusals += picked.refusals
    filtered = message.lines - len(picked.indexes) - len(picked.refusals)
    routed.tally.add(message.log_type, message.hour, "filtered", filtered)
    routed.tally.add(message.log_type, message.hour, "dead_lettered", len(picked.refusals))


@dataclass
class _Picked:
    """What is taken of one message."""

    message: StoredMessage
    limits: Limits
    parts: list[bytes] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def take(self, segment: Segment, part: bytes, indexes: Sequence[int]) -> None:
        """Take lines of a segment; `indexes` are their places in the message."""
        if not indexes:
            return
        kept = Segment(segment.host_id, segment.team_id, segment.received_ms, len(indexes), len(part))
        self.parts.append(part)
        self.segments.append(kept)
        self.indexes += indexes

    def choose(self, segment: Segment, part: bytes, places: Sequence[int], selection: Selection) -> None:
        """Take those lines of a segment that are wanted and not longer than the destination takes."""
        longest = self.limits.line_bytes
        lines: list[bytes] = []
        indexes: list[int] = []
        for index, line in zip(places, part.split(b"\n")[:-1], strict=True):
            if not selection.takes_line(line):
                continue
            if longest is not None and len(line) > longest:
                reason = f"a line of {len(line)} bytes is longer than the destination's {longest}"
                self.refusals.append(Refusal(self.message.sequence, self.message.log_type, index, line, reason))
                continue
            lines.append(line + b"\n")
            indexes.append(index)
        self.take(segment, b"".join(lines), indexes)

"""Which lines of a range a destination gets, which it does not want, and which nobody can deliver."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from log_shipper.domain.messages import body_of
from log_shipper.errors import BadManifest
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

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """Move lines that the destination has refused from delivered to dead-lettered."""
        for refusal in refusals:
            hour = self.messages[refusal.sequence].hour
            self.tally.add(refusal.log_type, hour, "delivered", -1)
            self.tally.add(refusal.log_type, hour, "dead_lettered", 1)
            self.refusals.append(refusal)


def route(messages: Iterable[StoredMessage], log_types: frozenset[str], limits: Limits) -> Routed:
    """Sort the lines of messages."""
    routed = Routed()
    for message in messages:
        routed.messages[message.sequence] = message
        try:
            body = body_of(message)
        except BadManifest as error:
            routed.poison.append((message, str(error)))
            routed.tally.add(message.log_type, message.hour, "dead_lettered", message.lines)
            continue
        if message.log_type not in log_types:
            routed.tally.add(message.log_type, message.hour, "filtered", message.lines)
            continue
        _take(routed, message, body, limits.line_bytes)
    return routed


def _take(routed: Routed, message: StoredMessage, body: bytes, line_bytes: int | None) -> None:
    kept, refusals = (body, []) if line_bytes is None else _split(message, body, line_bytes)
    lines = message.lines - len(refusals)
    if lines:
        routed.chunks.append(Chunk(message.sequence, message.log_type, lines, kept))
    routed.refusals += refusals
    _count(routed.tally, message.log_type, message.hour, lines, len(refusals))


def _count(tally: Tally, log_type: str, hour: datetime, delivered: int, dead_lettered: int) -> None:
    tally.add(log_type, hour, "delivered", delivered)
    tally.add(log_type, hour, "dead_lettered", dead_lettered)


def _split(message: StoredMessage, body: bytes, line_bytes: int) -> tuple[bytes, list[Refusal]]:
    """Take out the lines that are longer than `line_bytes` (without their newline)."""
    if len(body) <= line_bytes:
        return body, []
    kept: list[bytes] = []
    refusals: list[Refusal] = []
    for index, line in enumerate(body.split(b"\n")[:-1]):
        if len(line) <= line_bytes:
            kept.append(line + b"\n")
        else:
            reason = f"a line of {len(line)} bytes is longer than the destination's {line_bytes}"
            refusals.append(Refusal(message.sequence, message.log_type, index, line, reason))
    return b"".join(kept), refusals

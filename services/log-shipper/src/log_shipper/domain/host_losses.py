"""What hosts say in their status lines about log lines that they threw away before anybody had them.

osqueryd writes a warning when it drops the oldest lines of a full buffer (`buffered_log_max`) and when it leaves out a
line that is too long (`logger_tls_max_linesize`). Both reach us late, some never (`tls_disable_status_log`, or a
buffer so full that the warning is dropped too), and a line that is no JSON goes without a word: the sum is a lower
bound. Source of the texts: osquery 5.23, plugins/logger/buffered.cpp (`purge`) and tls_logger.cpp (`send`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from log_shipper.domain.messages import OpenedMessage

PURGED = "purged"
OVERSIZE = "oversize"
KINDS = (PURGED, OVERSIZE)

PURGE = re.compile(r"Purging buffered logs limit \(([0-9]{1,19})\) exceeded: ([0-9]{1,19})")
PURGE_FAILED = re.compile(r"Trying to purge ([0-9]{1,19}) logs but only found [0-9]{1,19}")
TOO_LONG = re.compile(r"Linesize exceeds TLS logger maximum: ([0-9]{1,19})")
UNIX_TIME = re.compile(r"[0-9]{1,12}")
LATEST = 10**12
NEEDLES = (b"Purging buffered logs limit", b"Trying to purge ", b"Linesize exceeds TLS logger maximum")

MOST_LINES = 1_000_000_000  # of one warning: the numbers are a host's word
MOST_OF_A_HOST = 1_000_000_000_000
MARKS = 64  # that are remembered of a host and kind
RETRIED_SECONDS = 2 * 3600
"""A host warns of the same line each time it tries to send the batch that it is in, at least once an hour."""


class StatusLine(msgspec.Struct):
    """What of a status line matters here."""

    message: str = ""
    unixTime: int | str = 0  # noqa: N815 - osquery's name

    @property
    def second(self) -> str:
        """When the host wrote it; empty when that is no Unix time. Older osquery writes it as text."""
        if isinstance(self.unixTime, str):
            return self.unixTime if UNIX_TIME.fullmatch(self.unixTime) else ""
        return str(self.unixTime) if 0 <= self.unixTime < LATEST else ""


@dataclass(frozen=True)
class Loss:
    """One warning. `mark` is the same when a host says the same thing again."""

    host_id: int
    kind: str
    lines: int  # negative: an earlier warning was not true
    mark: str
    at: datetime


@dataclass(frozen=True)
class Lost:
    """What a host has lost, of one kind, and what it said lately: mark -> Unix time."""

    lines: int = 0
    warnings: int = 0
    marks: dict[str, int] = field(default_factory=dict)

    def after(self, loss: Loss) -> Lost:
        """Return this with a warning added, unless it was counted before.

        An oversize line of the same length within two hours is taken for the same line, tried again.
        """
        now = int(loss.at.timestamp())
        seen = self.marks.get(loss.mark)
        marks = {mark: at for mark, at in self.marks.items() if mark != loss.mark} | {loss.mark: now}
        marks = dict(list(marks.items())[-MARKS:])
        if seen is not None and (loss.kind == PURGED or now - seen < RETRIED_SECONDS):
            return replace(self, marks=marks)
        lines = min(max(self.lines + loss.lines, 0), MOST_OF_A_HOST)
        return Lost(lines, self.warnings + (loss.lines > 0), marks)


def losses_in(opened: OpenedMessage) -> Iterator[Loss]:
    """Yield the warnings in a message of status lines. Most have none: then this is a search in bytes."""
    if not _has_needle(opened.body):
        return
    for segment, part in opened.parts():
        for line in part.split(b"\n") if _has_needle(part) else ():
            loss = _loss(segment.host_id, line, opened.message.stored_at) if _has_needle(line) else None
            if loss is not None:
                yield loss


def by_host(losses: Iterable[Loss]) -> dict[tuple[int, str], Sequence[Loss]]:
    """Return the warnings by host id and kind, in order."""
    found: dict[tuple[int, str], list[Loss]] = {}
    for loss in losses:
        found.setdefault((loss.host_id, loss.kind), []).append(loss)
    return {key: found[key] for key in sorted(found)}


def _has_needle(text: bytes) -> bool:
    return any(needle in text for needle in NEEDLES)


def _loss(host_id: int, line: bytes, at: datetime) -> Loss | None:
    """Return what a line says. The whole message must match: a query's error may quote anything."""
    try:
        status = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if match := PURGE.fullmatch(status.message):
        limit, count = int(match[1]), int(match[2])
        mark = f"{status.second} {limit} {count}"
        return Loss(host_id, PURGED, min(count - limit, MOST_LINES), mark, at) if count > limit else None
    if match := PURGE_FAILED.fullmatch(status.message):
        mark = f"{status.second} failed {match[1]}"
        return Loss(host_id, PURGED, -min(int(match[1]), MOST_LINES), mark, at)
    if match := TOO_LONG.fullmatch(status.message):
        return Loss(host_id, OVERSIZE, 1, match[1], at)
    return None


_decode = msgspec.json.Decoder(StatusLine).decode

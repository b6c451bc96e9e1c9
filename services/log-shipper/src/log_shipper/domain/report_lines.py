"""Snapshots in result lines, as query reports keep them: of one line, or of an event for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from flotilla_common.contracts.logs import Segment

from log_shipper.domain.messages import OpenedMessage
from log_shipper.names import saved_query_of

SNAPSHOT = b'"snapshot"'  # stands in every line that can matter here
AHEAD_SECONDS = 600  # a host's clock may be ahead so far; one that is more counts as the moment when lines came in
LARGEST = 2**32 - 1
LONGEST_NAME = 2048
_BAD = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

Row = bytes
"""A row as JSON: an object whose members are strings, in the order of their names."""


class _Head(msgspec.Struct):
    name: str = ""
    action: str = ""
    unixTime: int | float | str = 0  # noqa: N815 - osquery's word
    counter: int | float | str = 0
    snapshot: msgspec.Raw = msgspec.Raw()
    columns: msgspec.Raw = msgspec.Raw()


_head = msgspec.json.Decoder(_Head).decode
_strings = msgspec.json.Decoder(list[dict[str, str]]).decode
_anything = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True)
class Snapshot:
    """What a host sent at once of one execution of a query.

    `is_whole`: all of it; else some rows of it, and others may come or have come. `key` orders executions: Unix time
    (s) and counter, 32 bits each. `received_ms`: Unix time.
    """

    team_id: int  # of the query; 0 = none
    query: str
    host_id: int
    host_team_id: int
    received_ms: int
    key: int
    rows: list[Row]
    is_whole: bool


@dataclass
class Skipped:
    """How many lines were passed over, since they are no snapshots of saved queries, or since they make no sense."""

    others: int = 0
    invalid: int = 0


def snapshots_of(opened: OpenedMessage, is_wanted: Callable[[int, str], bool], skipped: Skipped) -> Iterator[Snapshot]:
    """Yield the snapshots of a message, in order: those of saved queries that are wanted by team and name."""
    for segment, body in opened.parts():
        if SNAPSHOT in body:
            yield from _of_segment(segment, body, is_wanted, skipped)
        else:
            skipped.others += segment.lines


def _of_segment(
    segment: Segment, body: bytes, is_wanted: Callable[[int, str], bool], skipped: Skipped
) -> Iterator[Snapshot]:
    events: dict[tuple[int, str, int], Snapshot] = {}
    for line in body.split(b"\n")[:-1]:
        if SNAPSHOT not in line:
            skipped.others += 1
            continue
        try:
            head = _head(line)
            saved = saved_query_of(head.name) if len(head.name) <= LONGEST_NAME else None
            if saved is None or not _is_snapshot(head) or not is_wanted(*saved):
                skipped.others += 1
                continue
            found = _snapshot(segment, saved, head)
        except _BAD:
            skipped.invalid += 1
            continue
        if found.is_whole:
            yield found
        else:
            known = events.setdefault((*saved, found.key), found)
            if known is not found:
                known.rows.extend(found.rows)
    yield from events.values()


def _is_snapshot(head: _Head) -> bool:
    return bool(bytes(head.snapshot)) or (head.action == "snapshot" and bool(bytes(head.columns)))


def _snapshot(segment: Segment, saved: tuple[int, str], head: _Head) -> Snapshot:
    raw = bytes(head.snapshot)
    is_whole = bool(raw)
    rows = rows_of(raw if is_whole else b"[" + bytes(head.columns) + b"]")
    key = _key(head, segment.received_ms // 1000)
    return Snapshot(*saved, segment.host_id, segment.team_id, segment.received_ms, key, rows, is_whole)


def _key(head: _Head, received: int) -> int:
    seconds = _number(head.unixTime)
    if not 0 < seconds <= received + AHEAD_SECONDS:
        seconds = received
    return min(max(seconds, 1), LARGEST) << 32 | min(max(_number(head.counter), 0), LARGEST)


def _number(value: float | str) -> int:
    """Return a number that old hosts write as a string; 0 for what is none."""
    try:
        return int(value)
    except (ValueError, OverflowError):
        return 0


def rows_of(raw: bytes) -> list[Row]:
    """Return the rows of a JSON array. Numbers become strings, digit for digit, as does all else that is none.

    Raises:
        msgspec.DecodeError: it is no array of objects.
        RecursionError: it is nested without end.
        UnicodeDecodeError: it is no UTF-8.

    """
    try:
        found: list[dict[str, Any]] = _strings(raw)
    except msgspec.ValidationError:
        found = [{name: _string(value) for name, value in row.items()} for row in _anything(raw)]
    return [_encode(row) for row in found]


def _string(value: msgspec.Raw) -> str:
    raw = bytes(value)
    if raw.startswith(b'"'):
        return _text(raw)
    return "" if raw == b"null" else raw.decode()

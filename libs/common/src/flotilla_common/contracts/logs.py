"""Stream LOGS: result and status lines in custody. Published by agent-gateway, drained and purged by log-shipper.

A message is one line of manifest (JSON), then the log lines as NDJSON: the lines of the manifest's segments, in order,
each ended by a newline. Header `Lines` repeats the total, so that ledgers can be kept from headers alone.
"""

from __future__ import annotations

from typing import Literal

import msgspec

STREAM = "LOGS"
LINES_HEADER = "Lines"

LogType = Literal["result", "status"]
LOG_TYPES: tuple[LogType, ...] = ("result", "status")


class Segment(msgspec.Struct, array_like=True, frozen=True):
    """The lines of one POST of one host inside a message."""

    host_id: int
    team_id: int  # 0 = no team
    received_ms: int  # Unix time
    lines: int
    bytes: int  # with the newlines


class Manifest(msgspec.Struct, frozen=True, tag_field=None):
    """First line of a message."""

    v: int
    type: str
    segments: list[Segment]


def subject(log_type: LogType, shard: int) -> str:
    """Return the subject of lines.

    The shard is a gateway process's own, whichever hosts it serves: so many more share a message (docs/decisions/0033).
    """
    return f"logs.{log_type}.v1.{shard}"

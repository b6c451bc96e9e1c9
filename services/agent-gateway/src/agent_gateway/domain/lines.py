"""Cut a log POST into lines, each one JSON object on one line."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES

LINE_LIMIT = MAX_PAYLOAD_BYTES - 256 * 1024  # bytes: what one message can carry beside its manifest and headers


class LogRequest(msgspec.Struct):
    """`node_key` usually stands last."""

    node_key: str | None = None
    log_type: Any = None
    data: list[msgspec.Raw] | None = None


decoder = msgspec.json.Decoder(LogRequest)


def cut(data: list[msgspec.Raw], skipped: defaultdict[str, int]) -> list[bytes]:
    """Return the lines; what can never be stored is counted by reason and left out.

    Refusing the POST for one bad line would block the host's logs: it would send the same again, for ever.
    """
    return [line for line in (_line(bytes(raw), skipped) for raw in data) if line is not None]


def _line(line: bytes, skipped: defaultdict[str, int]) -> bytes | None:
    if not line.startswith(b"{"):
        skipped["not_an_object"] += 1
        return None
    if len(line) > LINE_LIMIT:
        skipped["too_long"] += 1
        return None
    if b"\n" in line or b"\r" in line:
        # Only between tokens: inside a string a bare newline is no JSON. Numbers keep every digit.
        return msgspec.json.format(line, indent=-1)
    return line


def parts_of(lines: list[bytes], limit: int) -> list[list[bytes]]:
    """Cut a list of lines so that each part has at most `limit` bytes (one line may be more)."""
    parts: list[list[bytes]] = []
    size = limit
    for line in lines:
        size += len(line) + 1
        if size > limit:
            parts.append([])
            size = len(line) + 1
        parts[-1].append(line)
    return parts

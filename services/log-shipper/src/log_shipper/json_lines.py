"""A line as part of a JSON document. Hosts send what they like: it may be no JSON, no UTF-8, or nested without end."""

from __future__ import annotations

import msgspec

_skip = msgspec.json.Decoder(msgspec.Raw).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def text_of(raw: bytes) -> str:
    """Return a line as text; what is no UTF-8 is replaced."""
    return raw.decode("utf-8", "replace")


def embedded(raw: bytes) -> bytes:
    """Return a line to be put into a JSON document: itself, byte for byte, or as a string when it is no JSON."""
    return raw if is_json(raw) else msgspec.json.encode(text_of(raw))


def is_json(raw: bytes) -> bool:
    """Whether a line is JSON in UTF-8."""
    try:
        raw.decode()
        _skip(raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return True


def members_of(raw: bytes) -> dict[str, msgspec.Raw] | None:
    """Return the members of a line that is a JSON object in UTF-8, their values byte for byte; None when it is not."""
    try:
        raw.decode()
        return _members(raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None

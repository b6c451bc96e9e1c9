"""SockJS 0.3 frames, as far as its websocket transport needs them. Texts in, texts out.

The server says `o` (open), `h` (heartbeat), `a[...]` (messages) and `c[code,"reason"]` (close); the client sends a
JSON array of strings, or one string. Source: the SockJS protocol, version 0.3.3.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

GREETING = "Welcome to SockJS!\n"
OPEN = "o"
HEARTBEAT = "h"
HEARTBEAT_SECONDS = 25.0
GO_AWAY = (3000, "Go away!")
MESSAGES_PER_FRAME = 16  # no client of ours sends more than two messages in all

_decoder = msgspec.json.Decoder(list[str] | str)


class BadFrame(Exception):
    """What the client sent is no SockJS frame."""


def messages_of(frame: str) -> list[str]:
    """Return the messages in a client's frame; an empty frame carries none.

    Raises:
        BadFrame: it is not a JSON array of strings, or has too many.

    """
    if not frame:
        return []
    try:
        found = _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadFrame(str(error)) from error
    messages = [found] if isinstance(found, str) else found
    if len(messages) > MESSAGES_PER_FRAME:
        raise BadFrame(f"{len(messages)} messages in one frame")
    return messages


def message_frame(messages: Sequence[str]) -> str:
    """Return the frame that carries messages to the client."""
    return "a" + msgspec.json.encode(list(messages)).decode()


def close_frame(code: int, reason: str) -> str:
    """Return the frame that tells the client why the connection ends."""
    return "c" + msgspec.json.encode([code, reason]).decode()


def information() -> dict[str, object]:
    """Return the body of `GET {prefix}/info`. `entropy` only seeds the client's random numbers."""
    return {
        "websocket": True,
        "cookie_needed": False,
        "origins": ["*:*"],
        "entropy": random.getrandbits(32),
    }

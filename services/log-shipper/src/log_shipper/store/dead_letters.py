"""Dead letters: messages without a sound manifest, and lines refused for good, go to stream DEAD with their position.

A repeat may put one there twice; its position tells.
"""

from __future__ import annotations

from flotilla_common.bus.connection import PUBLISH_TIMEOUT_SECONDS, Bus
from flotilla_common.contracts.logs import STREAM

PART_BYTES = 4 * 1024 * 1024  # a message of the largest size does not fit again with more headers


async def bury(
    bus: Bus, *, destination: str, sequence: int, subject: str, body: bytes, reason: str, index: int | None = None
) -> None:
    """Publish to stream DEAD and wait for the ack; `index` is the line's place in its message (None: all of it).

    Raises an outage's error when DEAD does not take it: then the batch must wait.
    """
    place = f"{STREAM}-{destination}-{sequence}" + ("" if index is None else f"-{index}")
    parts = [body[start : start + PART_BYTES] for start in range(0, len(body), PART_BYTES)] or [b""]
    for number, part in enumerate(parts, 1):
        headers = {
            "Reason": _one_line(reason),
            "Destination": destination,
            "Original-Subject": subject,
            "Original-Sequence": str(sequence),
            "Nats-Msg-Id": f"{place}-{number}",
        }
        if index is not None:
            headers["Original-Line"] = str(index)
        if len(parts) > 1:
            headers["Part"] = f"{number}/{len(parts)}"
        await bus.js.publish(f"dead.{STREAM}", part, timeout=PUBLISH_TIMEOUT_SECONDS, headers=headers)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:500]

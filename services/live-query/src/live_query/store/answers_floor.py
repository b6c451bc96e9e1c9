"""How far stream ANSWERS has been settled, in the stream's own time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.campaigns import ANSWERS_STREAM
from flotilla_common.errors import Unavailable

TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Floor:
    """`seen_at`: the server's time when it was asked; `oldest`: when it took the oldest answer that is not settled."""

    seen_at: datetime
    oldest: datetime | None

    def has_passed(self, moment: datetime) -> bool:
        """Whether every answer that the stream took until then is settled, and no more can come."""
        return self.seen_at > moment and (self.oldest is None or self.oldest > moment)


async def find(bus: Bus, durable: str) -> Floor:
    """Return how far a durable consumer of ANSWERS has come.

    Raises:
        Unavailable: the bus does not answer, or the consumer does not exist yet.

    """
    consumer = await _ask(bus, f"$JS.API.CONSUMER.INFO.{ANSWERS_STREAM}.{durable}")
    seen_at = datetime.fromisoformat(consumer["ts"])
    if not consumer["num_pending"] and not consumer["num_ack_pending"]:
        return Floor(seen_at, None)
    # A work queue holds what is not acked: its first message is at most as new as the oldest answer.
    state = (await _ask(bus, f"$JS.API.STREAM.INFO.{ANSWERS_STREAM}"))["state"]
    return Floor(seen_at, datetime.fromisoformat(state["first_ts"]) if state["messages"] else None)


async def _ask(bus: Bus, subject: str) -> dict[str, Any]:
    reply = await bus.client.request(subject, b"", timeout=TIMEOUT_SECONDS)
    body: dict[str, Any] = msgspec.json.decode(reply.data)
    if "error" in body:
        raise Unavailable(f"{subject}: {body['error'].get('description')}")
    return body

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


async def find(bus: Bus) -> Floor:
    """Return how far ANSWERS is settled.

    The stream alone is asked: a work queue holds just what is not settled, and its leader knows at once what it took.
    What a consumer has pending lags behind, and would miss an answer that came a moment ago.

    Raises:
        Unavailable: the bus does not answer, or the stream does not exist yet.

    """
    subject = f"$JS.API.STREAM.INFO.{ANSWERS_STREAM}"
    reply = await bus.client.request(subject, b"", timeout=TIMEOUT_SECONDS)
    body: dict[str, Any] = msgspec.json.decode(reply.data)
    if "error" in body:
        raise Unavailable(f"{subject}: {body['error'].get('description')}")
    state = body["state"]
    oldest = datetime.fromisoformat(state["first_ts"]) if state["messages"] else None
    return Floor(datetime.fromisoformat(body["ts"]), oldest)

"""The way of one class of requests into a custody stream: shut before the stream is full, and while it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from flotilla_common.bus.bodies import Body, Publish
from flotilla_common.errors import Refused, Unavailable

from agent_gateway.domain.circuits import Circuit

log = structlog.get_logger()

MEASURE_IS_GOOD_SECONDS = 30.0  # an older one shuts nothing: the stream itself still refuses
TOLERANCE = 3  # messages in a row that nobody acknowledged


class Gate:
    """Shut from `full_at` of the stream's limit on (0 to 1), open again below `room_at`.

    It is shut as well while the stream does not take messages, whatever the reason; then one request a second tries.
    """

    def __init__(
        self,
        stream: str,
        publish: Publish,
        *,
        full_at: float,
        room_at: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.fullness = 0.0
        self._publish = publish
        self._full_at = full_at
        self._room_at = room_at
        self._clock = clock
        self._measured_at = 0.0
        self._is_full = False
        self.circuit = Circuit(stream, tolerance=TOLERANCE, clock=clock)

    def measured(self, used_bytes: int, limit_bytes: int) -> None:
        """Take a measure of the stream."""
        self._measured_at = self._clock()
        self.fullness = used_bytes / limit_bytes if limit_bytes > 0 else 0.0
        is_full = self.fullness >= (self._room_at if self._is_full else self._full_at)
        if is_full != self._is_full:
            self._is_full = is_full
            note = log.warning if is_full else log.info
            note("stream is short of room" if is_full else "stream has room again", stream=self.stream, **self._shown())

    @property
    def is_full(self) -> bool:
        """Whether the stream is short of room, as far as is known."""
        return self._is_full and self._clock() - self._measured_at < MEASURE_IS_GOOD_SECONDS

    @property
    def is_shut(self) -> bool:
        """Whether requests are refused here, but for those that try."""
        return self.is_full or self.circuit.is_open

    def refusal(self) -> str | None:
        """Return why a message would not be taken now: `full`, `refused`; None when it may be. Changes nothing."""
        if self.is_full:
            return "full"
        return "refused" if self.circuit.refuses() else None

    async def publish(self, subject: str, body: Body, headers: dict[str, str] | None = None) -> int:
        """Publish if it may be, and learn from what comes of it; while the circuit is open this is what tries.

        Raises:
            Unavailable: it is not in custody, as far as known.

        """
        if self.is_full:
            raise Unavailable(f"{self.stream}: full")
        self.circuit.check()
        try:
            sequence = await self._publish(subject, body, headers)
        except Unavailable as error:
            self.circuit.failed(error, for_certain=isinstance(error, Refused))
            raise
        self.circuit.succeeded()
        return sequence

    def _shown(self) -> dict[str, float]:
        return {"fullness": round(self.fullness, 3), "full_at": self._full_at, "room_at": self._room_at}

"""How long a batch must wait so that a destination gets no more than its rate."""

from __future__ import annotations

from flotilla_common.contracts.log_destinations import Rate


class Pace:
    """Counts what went out. A batch larger than a second's share goes out whole, and the next waits the longer."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._free_at = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next batch may go out; `now` is of a monotonic clock."""
        return max(0.0, self._free_at - now)

    def sent(self, now: float, lines: int, size_bytes: int) -> None:
        """Count a batch."""
        seconds = [
            amount / rate
            for amount, rate in ((lines, self._rate.lines_per_second), (size_bytes, self._rate.bytes_per_second))
            if rate is not None
        ]
        self._free_at = max(self._free_at, now) + max(seconds, default=0.0)

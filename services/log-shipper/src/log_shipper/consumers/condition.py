"""How a destination does: whether it delivers, fails or rests, and what became of the batch at hand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog
from flotilla_common.bus import outage
from flotilla_common.contracts.log_destinations import Retry
from flotilla_common.db.models.log_shipper import Batch as RecordedBatch

from log_shipper import metrics
from log_shipper.deps import Deps
from log_shipper.domain.running import Running
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Progress
from log_shipper.store import destinations

log = structlog.get_logger()

MOST_DOUBLINGS = 30
ERROR_CHARACTERS = 500
ASK_SECONDS = 1.0
LONGEST_ASKED_SECONDS = 300.0  # a destination that asks for more is tried again after that


class Backoff:
    """How long to wait after failures in a row."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self.failures = 0

    def next(self) -> float:
        """Count a failure; return the seconds to wait."""
        self.failures += 1
        doubled = self._retry.first_seconds * 2.0 ** min(self.failures - 1, MOST_DOUBLINGS)
        return min(doubled, self._retry.longest_seconds)

    def reset(self) -> None:
        """Forget the failures."""
        self.failures = 0


class Condition:
    """Outlives failures: a worker that begins anew goes on with it."""

    def __init__(self, destination: Running, deps: Deps) -> None:
        self.destination = destination
        self._resting = asyncio.Event()
        self._resting.set()
        self._deps = deps
        self._backoff = Backoff(destination.retry)
        self.error = ""  # what the last failure was
        self._due_at = 0.0
        self._is_known_good = False  # an earlier worker, or another replica, may have written that it fails
        self._begun: tuple[int, int, Progress] | None = None

    def is_delivering(self, so: bool) -> None:
        """Note whether a cancellation would leave lines at the destination that nobody knows of."""
        if so:
            self._resting.clear()
        else:
            self._resting.set()

    async def rest(self, seconds: float) -> None:
        """Wait so long, at most, until no batch is being delivered."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._resting.wait(), seconds)

    def begin(self, batch_id: int, attempt: int, progress: Progress) -> None:
        """Keep what becomes of a batch until it is settled."""
        self._begun = batch_id, attempt, progress

    def progress_of(self, recorded: RecordedBatch) -> Progress | None:
        """Return how far a batch is; None when another process has begun to deliver it, and nobody knows."""
        if not recorded.attempts:
            return Progress()
        if self._begun is not None and self._begun[:2] == (recorded.id, recorded.attempts):
            return self._begun[2]
        return None

    @property
    def is_waiting(self) -> bool:
        """Whether the last delivery failed, and the next try is not due yet."""
        return self._backoff.failures > 0 and time.monotonic() < self._due_at

    async def wait_after(self, error: Exception, is_over: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Say that deliveries fail, and wait as long as the back-off says and the destination asks, within reason.

        Not any longer once `is_over`, which is asked every second.
        """
        asked = error.retry_after if isinstance(error, DestinationDown) else 0.0
        name, delay = self.destination.name, max(self._backoff.next(), min(asked, LONGEST_ASKED_SECONDS))
        metrics.FAILING.labels(name).set(1)
        metrics.FAILURES.labels(name).inc()
        log.warning("destination waits", destination=name, error=repr(error), seconds=delay)
        self.error = words_of(error)
        self._is_known_good = False
        await self._note(self.error)
        self._due_at = time.monotonic() + delay
        if is_over is None:
            await asyncio.sleep(delay)
            return
        while (rest := self._due_at - time.monotonic()) > 0 and not await is_over():  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(min(rest, ASK_SECONDS))

    async def succeeded(self) -> None:
        """Say that deliveries do not fail."""
        metrics.FAILING.labels(self.destination.name).set(0)
        self._backoff.reset()
        if not self._is_known_good:
            self._is_known_good = await self._note(None)

    async def _note(self, error: str | None) -> bool:
        """Write down the failure or its end, for people; return whether that was done, else the log has it."""
        try:
            async with self._deps.sessions.begin() as session:
                if error is None:
                    await destinations.note_success(session, self.destination.name)
                else:
                    await destinations.note_failure(session, self.destination.name, error)
        except outage.kinds() as trouble:
            log.warning("a destination's state is not written", error=repr(trouble))
            return False
        return True


def words_of(error: Exception) -> str:
    """Return an error for people."""
    return f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS].replace("\0", "")

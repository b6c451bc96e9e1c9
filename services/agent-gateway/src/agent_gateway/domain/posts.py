"""What a post is once all that can be done with it at once has been done: pieces on their way into custody."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from flotilla_common.errors import FleetError

TAKEN = b"{}"

Told = Callable[[FleetError | None], None]
"""Is told of one piece, once: that it is in custody, or why that is not known."""

Begun = tuple[int, Callable[[], None]]
"""How many pieces must be in custody before TAKEN is said, and what is to be noted then."""


class Tally(ABC):
    """Counts what it is told of pieces. All of them are known before it ends; the failure that came first counts.

    A callback for each piece, not a future: the event loop takes longer over a future than all else takes to pass on
    what became of a message to those who share it.
    """

    __slots__ = ("_failure", "_left")

    def __init__(self) -> None:
        self._left = 0
        self._failure: Exception | None = None

    def told(self, failure: FleetError | None) -> None:
        """Hear of one piece."""
        if failure is not None and self._failure is None:
            self._failure = failure
        self._left -= 1
        if not self._left:
            self.end()

    def expect(self, pieces: int) -> None:
        """Learn how many pieces there are; they have been handed over a moment ago."""
        self._left += pieces
        if not self._left:
            self.end()

    @abstractmethod
    def end(self) -> None:
        """Do what follows: all is known."""


class Custody(Tally):
    """The tally of a task that waits."""

    __slots__ = ("_all_known",)

    def __init__(self) -> None:
        super().__init__()
        self._all_known = asyncio.Event()

    def end(self) -> None:
        """Wake the task."""
        self._all_known.set()

    async def of(self, pieces: int) -> None:
        """Return when all pieces are in custody.

        Raises:
            Unavailable: that is not known of one in time.
            Refused: the stream said so of one.

        """
        self.expect(pieces)
        await self._all_known.wait()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure.with_traceback(None)  # all who share the message raise it: each would add to its frames
            finally:
                del failure  # else this frame holds it, and it this frame with the callers' bodies


def nothing_to_note() -> None:
    """Note nothing."""

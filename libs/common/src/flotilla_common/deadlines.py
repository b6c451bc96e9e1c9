"""Ends waits that take too long. One timer for all: where there are thousands a second, one each costs too much."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Waiter = asyncio.Task[object]

T = TypeVar("T")


class Deadlines:
    """Waits of one length, each by a task that cancels out of it when its time is up.

        waiter = deadlines.begin()
        try:
            await something
        except asyncio.CancelledError:
            deadlines.raise_if_late(waiter, TooSlow)
            raise
        finally:
            deadlines.end(waiter)

    A task has one wait of a `Deadlines` at a time; all tasks are of one event loop.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._until: dict[Waiter, float] = {}  # in the order of their deadlines: all waits are of one length
        self._late: set[Waiter] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> Waiter:
        """Start the current task's wait."""
        loop = self._loop = self._loop or asyncio.get_running_loop()  # to ask for it is a call of the system's
        waiter: Waiter = asyncio.current_task(loop)  # type: ignore[assignment]  # a request is handled by a task
        until = self._until[waiter] = loop.time() + self._seconds()
        if self._timer is None:
            self._timer = loop.call_at(until, self._look, loop)
        return waiter

    async def wait_for(self, what: Awaitable[T], error: type[Exception]) -> T:
        """Return what comes in time.

        Raises:
            error: it did not; what was waited for is cancelled.

        """
        waiter = self.begin()
        try:
            return await what
        except asyncio.CancelledError:
            self.raise_if_late(waiter, error)
            raise
        finally:
            self.end(waiter)

    def end(self, waiter: Waiter) -> None:
        """End it, whatever came of it."""
        self._until.pop(waiter, None)

    def raise_if_late(self, waiter: Waiter, error: type[Exception]) -> None:
        """Raise this error if the task was cancelled for being late, and for nothing else."""
        if waiter in self._late:
            self._late.discard(waiter)
            if waiter.uncancel() <= 0:
                raise error from None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for waiter, until in list(self._until.items()):
            if until > now:
                self._timer = loop.call_at(until, self._look, loop)
                return
            del self._until[waiter]
            self._late.add(waiter)
            waiter.cancel()

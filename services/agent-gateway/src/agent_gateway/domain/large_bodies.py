"""Work on large bodies beside the event loop, one at a time: polls go on, and what a body becomes is held once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

INLINE_LIMIT = 512 * 1024  # bytes; less than this is done before a thread would have begun


class LargeBodies:
    """The one thread that large bodies share. No stop waits for it, which those of an executor do."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: Thread | None = None

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Return what `work` makes of a body of so many bytes. It must touch nothing that the event loop touches.

        The work of a caller that is cancelled is not begun, or comes to its end before the next one's begins.
        """
        if size <= INLINE_LIMIT:
            return work()
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._queue,), name="large bodies", daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._queue.put((future, work))
        return await asyncio.wrap_future(future)


def _work(queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> None:
    while True:
        _do(*queue.get())


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        done = work()
    except BaseException as error:  # noqa: BLE001  # it is the caller's, whatever it is
        future.set_exception(error)
        del future, work  # which the error's frames would hold, and it them
    else:
        future.set_result(done)

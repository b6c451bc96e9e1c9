"""Work on large bodies beside the event loop, one at a time: polls go on, and what a body becomes is held once."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from flotilla_common.errors import Unavailable

T = TypeVar("T")

KEY_BYTES = 1024  # at the end of a body, or its beginning, in which its key is looked for
_KEY = re.compile(rb'"node_key"\s{0,9}:\s{0,9}"([A-Za-z0-9_.~+/=-]{1,255})"')

INLINE_LIMIT = 32 * 1024  # bytes, of plain JSON


class LargeBodies:
    """One thread that large bodies share. No stop waits for it, which those of an executor do.

    `waiting`: so many wait for it at most.
    """

    def __init__(self, waiting: float = math.inf) -> None:
        self._room = waiting
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: Thread | None = None

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Return what `work` makes of a body of so many bytes. It must touch nothing that the event loop touches.

        Raises:
            Unavailable: too many wait.

        """
        return work() if size <= INLINE_LIMIT else await self.run_beside(work)

    async def run_beside(self, work: Callable[[], T]) -> T:
        """Do the same for whatever takes long.

        The work of a caller that is cancelled is not begun, or comes to its end before the next one's begins.
        """
        if self._room <= 0:
            raise Unavailable("too many bodies wait to be looked at")
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._queue,), name="large bodies", daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._queue.put((future, work))
        self._room -= 1
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._room += 1
            del future, work  # an error's frames hold this one, and its future the error


def claimed_key(body: bytes) -> str | None:
    """Return the node key that a body seems to have, where clients put it; nothing is parsed, nothing is proved."""
    if at_end := _KEY.findall(body[-KEY_BYTES:]):
        return str(at_end[-1].decode())  # those before may be in a line of the host's
    at_start = _KEY.search(body[:KEY_BYTES])
    return None if at_start is None else at_start[1].decode()


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

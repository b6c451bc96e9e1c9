"""Work that many ask for at the same moment, done for all who wait by one of them: one transaction, one lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from flotilla_common.errors import FleetError, Unavailable

R = TypeVar("R")
A = TypeVar("A")


class Together(Generic[R, A]):
    """Whoever comes first does the work of those who have come by then, `limit` at most; the others wait for theirs."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: list[tuple[R, asyncio.Future[A]]] = []
        self._turn = asyncio.Lock()

    async def ask(self, request: R, work: Callable[[Sequence[R]], Awaitable[Sequence[A | FleetError]]]) -> A:
        """Return the answer to a request; `work` answers several in their order, with errors among the answers.

        Raises:
            FleetError: the answer is one; Unavailable: whoever did the work was stopped.
            Exception: what `work` raises, for each of those whose work it was.

        """
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        async with self._turn:
            while not future.done():  # those before it may have left without their turn
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._answer(batch, work)
        return await future

    async def _answer(
        self,
        batch: list[tuple[R, asyncio.Future[A]]],
        work: Callable[[Sequence[R]], Awaitable[Sequence[A | FleetError]]],
    ) -> None:
        failure: Exception = Unavailable("stopping")
        try:
            answers = await work([request for request, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                _settle(future, answer)
        except Exception as error:  # noqa: BLE001 - each of those who wait raises it
            failure = error
        finally:
            for _, future in batch:
                _settle(future, failure)


def _settle(future: asyncio.Future[A], answer: A | Exception) -> None:
    if future.done():  # answered, or nobody waits any more
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
        future.exception()  # seen, also when its owner has left
    else:
        future.set_result(answer)

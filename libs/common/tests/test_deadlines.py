"""Waits that take too long are ended, each at its own time, by one timer."""

from __future__ import annotations

import asyncio

import pytest
from flotilla_common.deadlines import Deadlines


class TooSlow(Exception):
    """What a wait ends in."""


async def wait(deadlines: Deadlines, until: asyncio.Event) -> str:
    waiter = deadlines.begin()
    try:
        await until.wait()
    except asyncio.CancelledError:
        deadlines.raise_if_late(waiter, TooSlow)
        raise
    finally:
        deadlines.end(waiter)
    return "came"


async def test_a_wait_that_takes_too_long_ends_in_the_error_and_its_task_lives_on() -> None:
    deadlines = Deadlines(lambda: 0.02)

    async def handle() -> str:
        with pytest.raises(TooSlow):
            await wait(deadlines, asyncio.Event())
        await asyncio.sleep(0)
        return "answered"

    assert await asyncio.create_task(handle()) == "answered"


async def test_what_comes_in_time_is_left_alone_also_later() -> None:
    deadlines = Deadlines(lambda: 0.05)
    came = asyncio.Event()

    async def handle() -> str:
        found = await wait(deadlines, came)
        await asyncio.sleep(0.1)  # beyond the deadline that the wait had
        return found

    task = asyncio.create_task(handle())
    await asyncio.sleep(0)
    came.set()

    assert await task == "came"


async def test_each_of_many_waits_ends_at_its_own_time_and_all_of_them_do() -> None:
    deadlines = Deadlines(lambda: 0.05)
    loop = asyncio.get_running_loop()
    took: list[float] = []

    async def handle() -> None:
        began = loop.time()
        with pytest.raises(TooSlow):
            await wait(deadlines, asyncio.Event())
        took.append(loop.time() - began)

    tasks = []
    for _ in range(5):
        tasks.append(asyncio.create_task(handle()))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)

    assert len(took) == 5
    assert all(0.05 <= seconds < 2 for seconds in took)


async def test_a_cancelled_wait_is_cancelled_and_not_late() -> None:
    deadlines = Deadlines(lambda: 60.0)
    task = asyncio.create_task(wait(deadlines, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

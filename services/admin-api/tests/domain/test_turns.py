"""Turns."""

import asyncio

import pytest
from admin_api.domain.turns import Turns
from flotilla_common.errors import Unavailable


async def test_one_goes_on_at_a_time_in_the_order_of_coming():
    turns, going, order = Turns(60, 100), 0, []

    async def work(number: int) -> None:
        nonlocal going
        async with turns.take():
            going += 1
            assert going == 1
            await asyncio.sleep(0)
            order.append(number)
            going -= 1

    await asyncio.gather(*map(work, range(20)))

    assert order == list(range(20))


async def test_whoever_takes_long_keeps_the_next_one_for_a_moment_only():
    turns, slow_ends = Turns(0.05, 100), asyncio.Event()

    async def slow() -> None:
        async with turns.take():
            await slow_ends.wait()

    working = asyncio.create_task(slow())
    await asyncio.sleep(0)
    async with asyncio.timeout(30), turns.take():
        slow_ends.set()  # while somebody else has the turn: it must not end that one's
        await working
        third = asyncio.create_task(slow())
        await asyncio.sleep(0)
        assert turns._lock.locked()
    await third


async def test_a_turn_ends_with_an_error_and_with_whoever_leaves():
    turns = Turns(60, 100)
    with pytest.raises(ZeroDivisionError):
        async with turns.take():
            raise ZeroDivisionError
    async with turns.take():
        waiting = asyncio.create_task(turns.take().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    async with asyncio.timeout(30), turns.take():
        assert turns._waiting == 0


async def test_too_many_are_turned_away():
    turns = Turns(60, 2)
    async with turns.take():
        waiting = [asyncio.create_task(turns.take().__aenter__()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await turns.take().__aenter__()
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

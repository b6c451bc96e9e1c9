"""Work done together: each gets an own answer, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from flotilla_common.errors import Conflict, Unavailable
from live_query.domain.together import Together


async def test_those_who_wait_are_answered_together_in_their_order():
    batches, desk = [], Together(3)

    async def double(numbers):
        batches.append(list(numbers))
        await asyncio.sleep(0)
        return [number * 2 for number in numbers]

    assert await asyncio.gather(*(desk.ask(number, double) for number in range(8))) == [n * 2 for n in range(8)]
    assert [number for batch in batches for number in batch] == list(range(8))
    assert len(batches) < 8
    assert max(map(len, batches)) == 3


async def test_an_error_among_the_answers_is_raised_to_its_owner_alone():
    desk = Together(10)

    async def odd_ones_fail(numbers):
        return [Conflict(str(number)) if number % 2 else number for number in numbers]

    outcomes = await asyncio.gather(*(desk.ask(n, odd_ones_fail) for n in range(4)), return_exceptions=True)

    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, True, False, True]


async def test_what_the_work_raises_is_raised_to_all_whose_work_it_was_and_the_next_are_served():
    desk, is_down = Together(10), True

    async def work(numbers):
        if is_down:
            raise Unavailable("down")
        return list(numbers)

    outcomes = await asyncio.gather(*(desk.ask(n, work) for n in range(4)), return_exceptions=True)
    is_down = False

    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert await desk.ask(7, work) == 7


async def test_when_who_does_the_work_is_stopped_the_others_hear_so():
    desk, entered = Together(10), asyncio.Event()

    async def never(numbers):
        entered.set()
        await asyncio.Event().wait()
        return list(numbers)

    async def quick(numbers):
        return list(numbers)

    first = asyncio.create_task(desk.ask(1, never))
    await entered.wait()
    second = asyncio.create_task(desk.ask(2, quick))
    await asyncio.sleep(0)
    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == 2


async def test_one_who_leaves_before_the_work_keeps_nobody_waiting():
    desk, going = Together(10), asyncio.Event()

    async def work(numbers):
        await going.wait()
        return list(numbers)

    first, second, third = (asyncio.create_task(desk.ask(n, work)) for n in range(3))
    await asyncio.sleep(0)
    second.cancel()
    going.set()

    assert await first == 0
    assert await third == 2
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_a_whole_batch_of_those_who_left_keeps_nobody_waiting():
    desk, entered, going = Together(2), asyncio.Event(), asyncio.Event()

    async def work(numbers):
        entered.set()
        await going.wait()
        return list(numbers)

    first = asyncio.create_task(desk.ask(0, work))
    await entered.wait()
    leaving = [asyncio.create_task(desk.ask(number, work)) for number in (1, 2)]
    last = asyncio.create_task(desk.ask(3, work))
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    going.set()

    async with asyncio.timeout(10):
        assert await last == 3
    assert await first == 0

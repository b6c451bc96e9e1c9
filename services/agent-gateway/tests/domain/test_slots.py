"""Slots: first come in a lane, lanes in turn, nobody lost when some give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Hashable

import pytest
from agent_gateway.domain.slots import Slots
from flotilla_common.errors import Unavailable


class Work:
    """Things that hold a slot until they are told to go."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.order: list[Hashable] = []
        self.go = asyncio.Event()

    async def one(self, lane: Hashable, seconds: float = 60.0) -> None:
        async with self.slots.slot(lane, seconds):
            self.order.append(lane)
            await self.go.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_lanes_take_turns_however_long_one_of_them_is() -> None:
    work = Work(Slots(1, queue=100, lane=100))
    async with asyncio.TaskGroup() as tasks:
        for lane in ("first", *("storm",) * 20, "other", "third"):
            tasks.create_task(work.one(lane))
        await settle()
        work.go.set()

    assert work.order[:5] == ["first", "storm", "other", "third", "storm"]
    assert work.order.count("storm") == 20


async def test_the_queue_and_each_lane_are_bounded() -> None:
    work = Work(Slots(1, queue=5, lane=3))
    async with asyncio.TaskGroup() as tasks:
        for lane in ("first", *("storm",) * 3):
            tasks.create_task(work.one(lane))
        await settle()
        with pytest.raises(Unavailable):
            await work.one("storm")
        for lane in ("a", "b"):
            tasks.create_task(work.one(lane))
        await settle()
        with pytest.raises(Unavailable):
            await work.one("c")
        assert work.slots.waiting == 5
        work.go.set()

    assert (len(work.order), work.slots.waiting) == (6, 0)


async def test_who_waits_too_long_leaves_the_queue() -> None:
    work = Work(Slots(1, queue=5, lane=5))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work.one("first"))
        await settle()
        with pytest.raises(TimeoutError):
            await work.one("late", 0.01)
        assert work.slots.waiting == 0
        work.go.set()

    assert work.order == ["first"]


async def test_no_slot_is_lost_when_waiters_are_cancelled_at_any_moment() -> None:
    chance = random.Random(7)
    slots = Slots(3, queue=1000, lane=1000)
    at_once = most = done = 0

    async def one(lane: int) -> None:
        nonlocal at_once, most, done
        async with slots.slot(lane, 60.0):
            at_once += 1
            most = max(most, at_once)
            try:
                await asyncio.sleep(0)
                done += 1
            finally:
                at_once -= 1

    running = [asyncio.create_task(one(chance.randrange(4))) for _ in range(300)]
    for task in chance.sample(running, 150):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    assert (most, at_once, slots.waiting) == (3, 0, 0)
    assert done >= 150
    for lane in range(3):
        await one(lane)

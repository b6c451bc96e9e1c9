"""Two replicas of live-query are killed at random moments, again and again, while campaigns come and go."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack

import pytest

from . import audit
from .nurseries import Upkeep, upkept
from .stories import all_answer, expires, nobody_comes, over_budget, paused_to_its_end, ramped, stopped
from .world import Told, World

KILLS = int(os.environ.get("FLOTILLA_KILLS", "8"))
LONGEST_SECONDS = 1.5  # between two kills; half of it on average
AT_ONCE = 4
STORIES = (all_answer, expires, nobody_comes, over_budget, paused_to_its_end, ramped, stopped)


async def kill(replicas: list[Upkeep], chance: random.Random) -> None:
    left = KILLS
    while left:
        await asyncio.sleep(chance.uniform(0.0, LONGEST_SECONDS))  # the moment is what is random
        victim = chance.choice(replicas).child
        left -= victim is not None and victim.kill()


async def keep_asking(world: World, killing: asyncio.Task[None], chance: random.Random) -> list[Told]:
    """Start one campaign after the other for as long as somebody kills."""
    tales: list[Told] = []
    while not killing.done():
        tales.append(await chance.choice(STORIES)(world))
    return tales


@pytest.mark.timeout(120 + 15 * KILLS)
async def test_killed_at_random_moments_both_replicas_lose_and_double_nothing(unhurried_nursery, world):
    chance = random.Random()
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(upkept(unhurried_nursery, lambda _: None)) for _ in range(2)]
        killing = asyncio.create_task(kill(replicas, chance))
        asked = await asyncio.gather(*(keep_asking(world, killing, chance) for _ in range(AT_ONCE)))
        tales = [told for some in asked for told in some]
        await audit.all_are_closed(world, tales)
        for told in tales:
            await audit.the_ledger_adds_up(world, told)
            await audit.viewers_saw_it_once(world, told)

    assert sum(len(replica.over) for replica in replicas) == KILLS + len(replicas)  # which are killed in the end
    assert len(tales) >= AT_ONCE

"""live-query is killed at every kind of commit point, and comes to the same end as if nothing had happened."""

from __future__ import annotations

import asyncio

import pytest

from . import audit
from .nurseries import Passed, upkept
from .points import Plan
from .stories import STORIES, Story, garbage_comes, turn_all_off_and_on
from .world import World

LEAST_PLACES = 50
KINDS = (
    "Postgres COMMIT",
    "Postgres lease",
    "Redis ",
    "NATS $KV.",
    "NATS $O.",
    "NATS overruns.",
    "NATS _INBOX",
    "blob ",
)


async def live_through(world: World, *stories: Story) -> None:
    """Go through stories at once, then look at the books, and let so much time pass that all of it is forgotten."""
    tales = [told for told in await asyncio.gather(*(story(world) for story in stories)) if told is not None]
    await audit.all_are_closed(world, tales)
    shown = []
    for told in tales:
        await audit.the_ledger_adds_up(world, told)
        shown.append(await audit.viewers_saw_it_once(world, told))
    await audit.time_passes(world, tales)
    for told, before in zip(tales, shown, strict=True):
        assert await world.archived(told.number) == before
    for told in tales[:1]:
        await audit.results_go(world, told)
    await audit.nothing_is_left(world)


@pytest.mark.timeout(300)
async def test_killed_once_at_each_kind_of_commit_it_loses_and_doubles_nothing(nursery, world):
    """One process after the other ends where none has ended yet; what one began the next must finish."""
    covered: set[tuple[str, str]] = set()

    def next_place(crashes: list[Passed]) -> Plan:
        covered.update((one.place, one.stage) for one in crashes)
        return Plan(covered=frozenset(covered), stages=("half", "after"))

    async with upkept(nursery, next_place) as upkeep:
        await garbage_comes(world)
        await turn_all_off_and_on(world)
        await live_through(world, *STORIES)

    places = {one.place for one in upkeep.crashes}
    assert len(places) >= LEAST_PLACES
    assert [kind for kind in KINDS if not any(place.startswith(kind) for place in places)] == []

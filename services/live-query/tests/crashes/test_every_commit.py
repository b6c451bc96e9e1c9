"""Each story alone, and live-query killed at its first commit, at its second, and so on to the last.

It takes long and is collected only where FLOTILLA_EVERY_COMMIT names a file; that gets a line per run.
"""

from __future__ import annotations

import itertools
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from .nurseries import Passed, upkept
from .points import Plan
from .stories import STORIES, garbage_comes, turn_all_off_and_on
from .test_commit_points import live_through

HOURS = 3600.0
FIRST = garbage_comes  # this one is killed while it starts, too


def once(plan: Plan) -> Callable[[list[Passed]], Plan]:
    """Plan one crash, then none."""
    return lambda crashes: Plan() if crashes else plan


@pytest.mark.timeout(3 * HOURS)
@pytest.mark.parametrize("stage", ["before", "after"])
@pytest.mark.parametrize("story", [FIRST, turn_all_off_and_on, *STORIES], ids=lambda story: story.__name__)
async def test_killed_at_every_commit_of_a_story(nursery, world, make_anew, story, stage):
    report = Path(os.environ["FLOTILLA_EVERY_COMMIT"])
    failed: list[int] = []
    for number in itertools.count(1):
        await make_anew()
        outcome = "right"
        async with upkept(nursery, once(Plan(number, stage, started=story != FIRST))) as upkeep:
            try:
                await live_through(world, story)
            except Exception as error:  # noqa: BLE001 - the other numbers are tried all the same
                outcome = f"WRONG\n{''.join(traceback.format_exception(error))}"
                failed.append(number)
        places = [one.place for one in upkeep.crashes] or ["not reached"]
        with report.open("a") as lines:  # noqa: ASYNC230 - nothing else goes on
            lines.write(f"{story.__name__} {number} {stage} {', '.join(places)}: {outcome}\n")
        if not upkeep.crashes:
            break

    assert failed == []
    assert number > 1

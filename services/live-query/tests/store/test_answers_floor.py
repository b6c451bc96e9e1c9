"""How far ANSWERS is settled, in the stream's own time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flotilla_common.errors import Unavailable
from live_query.consumers.on_campaign_answers import DURABLE
from live_query.store import answers_floor
from live_query.store.answers_floor import Floor

from ..conftest import answer_to

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seen", "oldest", "passed"),
    [(1, None, True), (0, None, False), (-1, None, False), (9, 1, True), (9, 0, False), (9, -1, False)],
)
def test_a_moment_has_passed_when_all_from_before_is_settled_and_no_more_can_come(seen, oldest, passed):
    floor = Floor(NOON + timedelta(seconds=seen), None if oldest is None else NOON + timedelta(seconds=oldest))

    assert floor.has_passed(NOON) is passed


async def test_without_a_consumer_nobody_knows(deps):
    with pytest.raises(Unavailable):
        await answers_floor.find(deps.bus, DURABLE)


async def test_the_floor_stands_at_the_oldest_answer_that_waits(deps, running, gateway):
    async with running(deps):
        idle = await answers_floor.find(deps.bus, DURABLE)
    await gateway.answer(1, answer_to(1))
    waiting = await answers_floor.find(deps.bus, DURABLE)
    await gateway.answer(2, answer_to(1))
    still = await answers_floor.find(deps.bus, DURABLE)

    assert idle.oldest is None
    assert waiting.oldest is not None
    assert idle.seen_at < waiting.oldest <= waiting.seen_at < still.seen_at
    assert still.oldest == waiting.oldest

"""How long the event loop of the TLS port pauses so that requests gather, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from agent_gateway.gathering import (
    CHANGED,
    COUNTED,
    ENOUGH,
    LAST_LOTS,
    LONGEST_SECONDS,
    WANTED,
    Gathering,
    Phase,
)
from flotilla_common.testing import turns

BUSY = 0.0001  # seconds between two requests
LOOK_LOTS, PAUSE_LOTS, REST_LOTS = Phase.LOOKING.value, Phase.PAUSING.value, Phase.RESTING.value


@dataclass
class Moments:
    """A clock that goes on when it is told to, and what happened in which order."""

    now: float = 100.0
    happened: list[object] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.happened.append(pytest.approx(seconds))

    def step(self) -> None:
        self.happened.append("a request's first step")


def come(gathering: Gathering, moments: Moments, count: int, each_seconds: float) -> None:
    for _ in range(count):
        moments.now += each_seconds
        gathering.came()


async def come_in_lots(gathering: Gathering, moments: Moments, lots: int, each_seconds: float) -> int:
    """Let requests come, and return how many of the lots had pauses."""
    paused = 0
    for _ in range(lots):
        come(gathering, moments, COUNTED - 2, each_seconds)
        await turns()
        moments.happened.clear()
        come(gathering, moments, 1, each_seconds)  # of another turn: more than enough gathered in the one before
        await turns()
        paused += bool(moments.happened)
        come(gathering, moments, 1, each_seconds)
        await turns()
    moments.happened.clear()
    return paused


async def look(gathering: Gathering, moments: Moments, each_seconds: float) -> None:
    """Let as many come as are looked at before there are pauses."""
    assert await come_in_lots(gathering, moments, LOOK_LOTS, each_seconds) == 0


async def pause_of(gathering: Gathering, moments: Moments) -> object:
    """Return how long the pause for another request is, None: there is none."""
    moments.happened.clear()
    gathering.came()
    await turns()
    return moments.happened[0] if moments.happened else None


@pytest.fixture
def moments() -> Moments:
    return Moments()


@pytest.fixture
def gathering(moments: Moments) -> Gathering:
    return Gathering(LONGEST_SECONDS, moments.clock, moments.sleep)


@pytest.mark.parametrize("per_second", [0.01, 1, 100, 600])
async def test_seldom_requests_wait_for_nobody(gathering: Gathering, moments: Moments, per_second: float) -> None:
    assert await come_in_lots(gathering, moments, 3 * LOOK_LOTS, 1 / per_second) == 0


async def test_there_are_none_where_none_may_be(moments: Moments) -> None:
    assert await come_in_lots(Gathering(0.0, moments.clock, moments.sleep), moments, PAUSE_LOTS, BUSY) == 0


@pytest.mark.parametrize(("per_second", "seconds"), [(640, 0.0078125), (1000, 0.005), (10_000, 0.0005)])
async def test_a_pause_lets_some_requests_gather(
    gathering: Gathering, moments: Moments, per_second: float, seconds: float
) -> None:
    await look(gathering, moments, 1 / per_second)
    assert await pause_of(gathering, moments) == seconds
    assert seconds <= LONGEST_SECONDS


async def test_there_is_one_pause_for_all_requests_of_a_turn(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    for count in (1, 2, ENOUGH - 1):
        come(gathering, moments, count, BUSY)
        await turns()
    assert moments.happened == [WANTED * BUSY] * 3


async def test_where_enough_have_gathered_there_is_no_pause(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    come(gathering, moments, ENOUGH, BUSY)
    await turns()
    assert moments.happened == []
    come(gathering, moments, 1, BUSY)
    await turns()
    assert moments.happened == [WANTED * BUSY]


async def test_a_pause_comes_with_the_second_turn(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    gathering.came()
    await turns(1)
    assert moments.happened == []
    await turns(1)
    assert moments.happened == [WANTED * BUSY]


@pytest.mark.parametrize("comes_first", [True, False])
async def test_requests_handed_over_in_a_turn_are_begun_before_its_pause(
    gathering: Gathering, moments: Moments, *, comes_first: bool
) -> None:
    await look(gathering, moments, BUSY)
    loop = asyncio.get_running_loop()
    others: list[Callable[[], object]] = [gathering.came, lambda: loop.call_soon(moments.step)]
    for other in others if comes_first else others[::-1]:  # granian's task of another request is made in this turn
        loop.call_soon(other)
    await turns()
    assert moments.happened == ["a request's first step", WANTED * BUSY]


async def test_there_is_another_look_from_time_to_time(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, PAUSE_LOTS - 1, BUSY) == PAUSE_LOTS - 1
    come(gathering, moments, COUNTED - 2, BUSY)
    await turns()
    come(gathering, moments, 2, BUSY)
    await turns()
    assert moments.happened == []  # the look has begun before the pause that was ahead
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, 2, BUSY) == 2


@pytest.mark.parametrize("each_seconds", [1 / 300, 0.1, 1.0, 100.0])
async def test_the_pauses_end_with_the_rush(gathering: Gathering, moments: Moments, each_seconds: float) -> None:
    """For one who comes alone as for many: not by how many more come."""
    await look(gathering, moments, 1 / 640)
    first = moments.now
    for _ in range(COUNTED):
        come(gathering, moments, 1, each_seconds)
        paused = len(moments.happened)
        await turns()
        if len(moments.happened) > paused:
            assert moments.now - first <= CHANGED * COUNTED / WANTED * LONGEST_SECONDS
    assert len(moments.happened) <= 0.3 / each_seconds
    assert await pause_of(gathering, moments) is None


async def test_a_rush_after_a_quiet_time_is_looked_at_anew(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    moments.now += 100
    assert await pause_of(gathering, moments) is None
    assert await come_in_lots(gathering, moments, LOOK_LOTS - 1, BUSY) == 0
    come(gathering, moments, COUNTED - 1, BUSY)
    await turns()
    assert moments.happened == []
    come(gathering, moments, 1, BUSY)
    await turns()
    assert moments.happened == [WANTED * BUSY]


async def test_the_fewest_that_get_pauses_keep_them(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, 1 / 640)
    for _ in range(3 * COUNTED):
        come(gathering, moments, 1, 1.2 / 640)
        await turns()
    assert len(moments.happened) == 3 * COUNTED


@pytest.mark.parametrize("times", [1.2, 1 / 1.2])
async def test_about_as_many_keep_their_pauses(gathering: Gathering, moments: Moments, times: float) -> None:
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, PAUSE_LOTS - 1, times * BUSY) == PAUSE_LOTS - 1
    assert await pause_of(gathering, moments) == WANTED * BUSY


@pytest.mark.parametrize("times", [1.3, 5.0, 1 / 1.3, 1 / 5])
async def test_more_requests_get_shorter_pauses_and_fewer_longer_ones(
    gathering: Gathering, moments: Moments, times: float
) -> None:
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, LAST_LOTS, times * BUSY) == LAST_LOTS
    await look(gathering, moments, times * BUSY)
    assert await come_in_lots(gathering, moments, PAUSE_LOTS - 1, times * BUSY) == PAUSE_LOTS - 1
    assert await pause_of(gathering, moments) == WANTED * times * BUSY


async def test_what_comes_more_seldom_step_by_step_keeps_its_pauses(gathering: Gathering, moments: Moments) -> None:
    each_seconds = BUSY
    await look(gathering, moments, each_seconds)
    for _ in range(6):
        each_seconds *= 1.5
        assert await come_in_lots(gathering, moments, LAST_LOTS, each_seconds) == LAST_LOTS
        await look(gathering, moments, each_seconds)
    assert await pause_of(gathering, moments) == WANTED * each_seconds


async def suspect(gathering: Gathering, moments: Moments, times: float = 2) -> None:
    """Let requests come so much more seldom with pauses than without, and look."""
    assert await come_in_lots(gathering, moments, LAST_LOTS, times * BUSY) == LAST_LOTS
    await look(gathering, moments, BUSY)


async def try_pauses(gathering: Gathering, moments: Moments, *times: float) -> None:
    """Let requests come so much more seldom in the lots with pauses."""
    paused = dict(zip((0, 3, 4), times, strict=True))
    for lot in range(Phase.TRYING.value):
        assert await come_in_lots(gathering, moments, 1, paused.get(lot, 1) * BUSY) == (lot in paused)


async def test_clients_that_the_pauses_keep_waiting_get_a_long_rest_of_them(
    gathering: Gathering, moments: Moments
) -> None:
    await look(gathering, moments, BUSY)
    await suspect(gathering, moments)
    for _ in range(3):
        await try_pauses(gathering, moments, 1.3, 2, 10)
        assert await come_in_lots(gathering, moments, REST_LOTS, BUSY) == 0


async def test_after_a_rest_it_is_as_requests_come_then(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    await suspect(gathering, moments)
    await try_pauses(gathering, moments, 2, 2, 2)
    assert await come_in_lots(gathering, moments, REST_LOTS - LOOK_LOTS, BUSY) == 0
    await look(gathering, moments, 3 * BUSY)
    assert await pause_of(gathering, moments) == WANTED * 3 * BUSY


@pytest.mark.parametrize("times", [(1.2, 2, 2), (2, 1.2, 2), (2, 2, 1.2), (0.5, 0.5, 0.5)])
async def test_who_does_not_wait_for_the_pauses_keeps_them(
    gathering: Gathering, moments: Moments, times: tuple[float, ...]
) -> None:
    await look(gathering, moments, BUSY)
    await suspect(gathering, moments)
    await try_pauses(gathering, moments, *times)
    assert await come_in_lots(gathering, moments, PAUSE_LOTS, BUSY) == PAUSE_LOTS
    await look(gathering, moments, BUSY)
    assert await pause_of(gathering, moments) == WANTED * BUSY


async def test_after_a_trial_it_is_as_requests_came_without_pauses(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    await suspect(gathering, moments)
    for lot in range(Phase.TRYING.value):
        await come_in_lots(gathering, moments, 1, {1: 3, 2: 2, 5: 4}.get(lot, 1) * BUSY)
    assert await pause_of(gathering, moments) == WANTED * 3 * BUSY


@pytest.mark.parametrize(("times", "is_tried"), [(1.2, False), (1.3, True)])
async def test_what_comes_more_seldom_with_pauses_is_tried(
    gathering: Gathering, moments: Moments, times: float, *, is_tried: bool
) -> None:
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, PAUSE_LOTS - LAST_LOTS, BUSY) == PAUSE_LOTS - LAST_LOTS
    await suspect(gathering, moments, times)
    assert await come_in_lots(gathering, moments, 4, BUSY) == (2 if is_tried else 4)


async def test_clients_too_slow_with_pauses_for_a_whole_lot_are_noticed(gathering: Gathering, moments: Moments) -> None:
    """Two clients, say, that take 2 ms for each of their requests, and 10 with the pauses."""

    async def ask(lots: int, seconds: float, paused_seconds: float) -> int:
        paused = 0
        for _ in range(lots * COUNTED):
            pauses = len(moments.happened)
            come(gathering, moments, 1, paused_seconds if gathering._pause_seconds else seconds)
            await turns()
            paused += len(moments.happened) > pauses
        return paused

    assert await ask(1000, 0.001, 0.005) < 0.02 * 1000 * COUNTED
    assert gathering._phase in {Phase.RESTING, Phase.TRYING}


async def test_what_was_odd_before_a_look_is_no_suspicion(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, PAUSE_LOTS - 1, BUSY) == PAUSE_LOTS - 1
    assert await come_in_lots(gathering, moments, 1, 10 * BUSY) == 1
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, 4, BUSY) == 4


async def test_a_silence_is_no_suspicion(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    moments.now += 10
    assert await pause_of(gathering, moments) is None
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, 4, BUSY) == 4


async def test_clients_that_join_and_are_kept_waiting_are_noticed(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, 10 * BUSY)
    assert await come_in_lots(gathering, moments, LAST_LOTS, 5 * BUSY) == LAST_LOTS  # sooner, but not as they would
    await look(gathering, moments, BUSY)
    await try_pauses(gathering, moments, 2, 2, 2)
    assert await come_in_lots(gathering, moments, 10, BUSY) == 0


async def test_what_was_before_seldom_requests_is_forgotten(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, LAST_LOTS, 0.0015) == LAST_LOTS
    await look(gathering, moments, 0.002)
    await look(gathering, moments, BUSY)
    assert await come_in_lots(gathering, moments, 4, BUSY) == 4


async def test_a_rush_after_seldom_requests_is_noticed(gathering: Gathering, moments: Moments) -> None:
    assert await come_in_lots(gathering, moments, 5 * LOOK_LOTS, 1.0) == 0
    assert await come_in_lots(gathering, moments, LOOK_LOTS - 1, 1.0) == 0
    assert await come_in_lots(gathering, moments, 1 + LOOK_LOTS, BUSY) == 0
    assert await pause_of(gathering, moments) == WANTED * BUSY


@pytest.mark.parametrize("odd", [10 * BUSY, BUSY / 10])
async def test_one_odd_lot_changes_nothing(gathering: Gathering, moments: Moments, odd: float) -> None:
    """A moment in which the machine is away, or none comes; and what had waited meanwhile."""
    for position in range(LOOK_LOTS):
        another = Gathering(LONGEST_SECONDS, moments.clock, moments.sleep)
        for lot in range(LOOK_LOTS):
            come(another, moments, COUNTED, odd if lot == position else BUSY)
        await turns()
        assert await pause_of(another, moments) == WANTED * BUSY
    await look(gathering, moments, BUSY)
    for _ in range(3):
        assert await come_in_lots(gathering, moments, 1, odd) == 1
        assert await come_in_lots(gathering, moments, 3, BUSY) == 3
    assert await pause_of(gathering, moments) == WANTED * BUSY


async def test_a_body_that_comes_in_many_pieces_waits_for_nobody(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, BUSY)
    for _ in range(3):
        gathering.flows()
        assert await pause_of(gathering, moments) is None
        moments.now += LONGEST_SECONDS * 0.99
        assert await pause_of(gathering, moments) is None
    moments.now += LONGEST_SECONDS * 0.02
    assert await pause_of(gathering, moments) == WANTED * BUSY

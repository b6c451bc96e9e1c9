"""How long the event loop of the TLS port pauses so that requests gather, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from agent_gateway.gathering import (
    COUNTED,
    ENOUGH,
    LONGEST_SECONDS,
    LOOKING,
    PAUSING,
    RESTING,
    TWICE,
    WANTED,
    Gathering,
)

from .conftest import House


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


async def turns(count: int = 5) -> None:
    """Let the event loop come round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def come(gathering: Gathering, moments: Moments, count: int, each_seconds: float) -> None:
    for _ in range(count):
        moments.now += each_seconds
        gathering.came()


async def come_in_lots(gathering: Gathering, moments: Moments, lots: int, each_seconds: float) -> int:
    """Let requests come, and return how many of the lots had a pause."""
    paused = 0
    for _ in range(lots):
        moments.happened.clear()
        come(gathering, moments, COUNTED - 1, each_seconds)
        await turns()
        come(gathering, moments, 1, each_seconds)  # of another turn: more than enough gathered in the one before
        await turns()
        paused += bool(moments.happened)
    moments.happened.clear()
    return paused


async def look(gathering: Gathering, moments: Moments, each_seconds: float) -> None:
    """Let as many come as are looked at before there are pauses."""
    assert await come_in_lots(gathering, moments, LOOKING - 1, each_seconds) == 0
    come(gathering, moments, COUNTED, each_seconds)
    await turns()
    moments.happened.clear()


@pytest.fixture
def moments() -> Moments:
    return Moments()


@pytest.fixture
def gathering(moments: Moments) -> Gathering:
    return Gathering(moments.clock, moments.sleep)


@pytest.mark.parametrize("per_second", [0.01, 1, 100, 600])
async def test_seldom_requests_wait_for_nobody(gathering: Gathering, moments: Moments, per_second: float) -> None:
    assert await come_in_lots(gathering, moments, 3 * LOOKING, 1 / per_second) == 0


@pytest.mark.parametrize(("per_second", "seconds"), [(640, 0.0078125), (1000, 0.005), (10_000, 0.0005)])
async def test_a_pause_lets_some_requests_gather(
    gathering: Gathering, moments: Moments, per_second: float, seconds: float
) -> None:
    await look(gathering, moments, 1 / per_second)
    gathering.came()
    await turns()
    assert moments.happened == [seconds]
    assert seconds <= LONGEST_SECONDS


async def test_there_is_one_pause_for_all_requests_of_a_turn(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, 0.0001)
    for count in (1, 2, ENOUGH - 1):
        come(gathering, moments, count, 0.0001)
        await turns()
    assert moments.happened == [WANTED * 0.0001] * 3


async def test_where_enough_have_gathered_there_is_no_pause(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, 0.0001)
    come(gathering, moments, ENOUGH, 0.0001)
    await turns()
    assert moments.happened == []
    come(gathering, moments, 1, 0.0001)
    await turns()
    assert moments.happened == [WANTED * 0.0001]


async def test_there_is_another_look_from_time_to_time(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, 0.0001)
    assert await come_in_lots(gathering, moments, PAUSING - 1, 0.0001) == PAUSING - 1
    assert await come_in_lots(gathering, moments, 1 + LOOKING - 1, 0.0001) == 0
    assert await come_in_lots(gathering, moments, 2, 0.0001) == 2


async def test_the_pauses_end_with_the_rush(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, 0.0001)
    assert await come_in_lots(gathering, moments, TWICE, 1.0) == 1
    assert await come_in_lots(gathering, moments, PAUSING, 1.0) == 0


async def test_fewer_requests_get_longer_pauses(gathering: Gathering, moments: Moments) -> None:
    await look(gathering, moments, 0.0001)
    assert await come_in_lots(gathering, moments, TWICE, 0.0005) == 1
    await look(gathering, moments, 0.0005)
    gathering.came()
    await turns()
    assert moments.happened == [WANTED * 0.0005]


async def test_clients_that_the_pauses_keep_waiting_get_a_long_rest_of_them(
    gathering: Gathering, moments: Moments
) -> None:
    await look(gathering, moments, 0.0001)
    assert await come_in_lots(gathering, moments, TWICE, 0.0005) == 1
    assert await come_in_lots(gathering, moments, LOOKING + RESTING - 1, 0.0001) == 0
    assert await come_in_lots(gathering, moments, 2, 0.0001) == 2


async def test_a_moment_in_which_none_came_changes_nothing(gathering: Gathering, moments: Moments) -> None:
    come(gathering, moments, COUNTED, 0.0001)
    moments.now += 100
    assert await come_in_lots(gathering, moments, LOOKING - 1, 0.0001) == 1  # the last of them ends the look
    moments.now += 100
    assert await come_in_lots(gathering, moments, PAUSING // 2, 0.0001) == PAUSING // 2


@pytest.mark.parametrize("comes_first", [True, False])
async def test_requests_handed_over_in_a_turn_are_begun_before_its_pause(
    gathering: Gathering, moments: Moments, *, comes_first: bool
) -> None:
    await look(gathering, moments, 0.0001)
    loop = asyncio.get_running_loop()
    others: list[Callable[[], object]] = [gathering.came, lambda: loop.call_soon(moments.step)]
    for other in others if comes_first else others[::-1]:  # granian's task of another request is made in this turn
        loop.call_soon(other)
    await turns()
    assert moments.happened == ["a request's first step", WANTED * 0.0001]


async def test_each_request_of_the_tls_port_counts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    came = []

    def record(gathering: Gathering) -> None:
        came.append(gathering)

    monkeypatch.setattr(Gathering, "came", record)
    for scheme, counted in (("http", 0), ("https", 2)):
        for path in ("/api/v1/osquery/distributed/read", "/nowhere"):
            await house.client.post(f"{scheme}://gateway{path}", json={"node_key": "unknown"})
        assert len(came) == counted

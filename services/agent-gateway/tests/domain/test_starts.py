"""Campaigns whose targets are late: kept, looked for less and less often, and given up with the campaign."""

from __future__ import annotations

import pytest
from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.starts import LONGEST_PAUSE_SECONDS, Starts
from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.campaigns import CampaignCommand
from flotilla_common.errors import Unavailable

NAME = "ab" * 32
DEADLINE = 600.0


class Store:
    """An object store, the clock that goes with it, and when it was asked."""

    def __init__(self) -> None:
        self.time = 0.0
        self.data: bytes | None = None
        self.down = False
        self.asked: list[float] = []

    async def fetch(self, name: str) -> bytes | None:
        self.asked.append(self.time)
        if self.down:
            raise Unavailable("down")
        return self.data

    def now(self) -> float:
        return self.time


class Case:
    """A gateway's campaigns over that store."""

    def __init__(self) -> None:
        self.store = Store()
        self.campaigns = Campaigns()
        self.counters = Counters()
        self.starts = Starts(self.campaigns, self.store.fetch, self.counters, self.store.now)

    async def start(self) -> None:
        await self.starts.start(CampaignCommand(5, "SELECT 1;", 0.0, DEADLINE, f"{5:032x}", b"", None, NAME))

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.store.time += 1
            await self.starts.look()


@pytest.fixture
def case() -> Case:
    return Case()


async def test_late_targets_are_looked_for_less_and_less_often(case: Case) -> None:
    await case.start()
    await case.pass_seconds(300)
    pauses = [after - before for before, after in zip(case.store.asked, case.store.asked[1:], strict=False)]
    case.store.data = bytes_of([1, 2])
    await case.pass_seconds(int(LONGEST_PAUSE_SECONDS))

    assert pauses[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert max(pauses) == LONGEST_PAUSE_SECONDS
    assert case.campaigns.verdict(5, 2, case.store.now()) == "open"


async def test_an_outage_of_the_object_store_is_outlived(case: Case) -> None:
    await case.start()
    case.store.down = True
    await case.pass_seconds(5)
    case.store.down, case.store.data = False, bytes_of([1])
    await case.pass_seconds(10)

    assert case.campaigns.open_ids() == {5}


async def test_a_campaign_that_ends_while_it_waits_does_not_start(case: Case) -> None:
    await case.start()
    case.starts.end(5, 0.0)
    case.store.data = bytes_of([1])
    await case.pass_seconds(5)

    assert case.campaigns.open_ids() == set()
    assert case.campaigns.verdict(5, 1, case.store.now()) == "late"


async def test_a_campaign_that_ends_while_its_targets_are_fetched_does_not_start(case: Case) -> None:
    await case.start()
    real = case.store.fetch

    async def end_meanwhile(name: str) -> bytes | None:
        case.starts.end(5, 0.0)
        return await real(name)

    case.starts._fetch = end_meanwhile
    case.store.data = bytes_of([1])
    await case.pass_seconds(5)

    assert case.campaigns.open_ids() == set()


async def test_the_deadline_ends_the_wait(case: Case) -> None:
    await case.start()
    await case.pass_seconds(int(DEADLINE + LONGEST_PAUSE_SECONDS))
    asked = len(case.store.asked)
    await case.pass_seconds(200)

    assert len(case.store.asked) == asked
    assert case.campaigns.verdict(5, 1, case.store.now()) == "late"


async def test_a_lost_bucket_ends_the_wait(case: Case) -> None:
    await case.start()
    case.starts.end_all()
    case.store.data = bytes_of([1])
    await case.pass_seconds(5)

    assert case.campaigns.open_ids() == set()


async def test_late_targets_that_make_no_sense_are_refused(case: Case) -> None:
    await case.start()
    case.store.data = b"garbage"
    await case.pass_seconds(200)

    assert case.counters.commands_refused == 1
    assert len(case.store.asked) == 2

"""How long a worker waits after a failure."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from flotilla_common.contracts.log_destinations import Destination, Retry
from flotilla_common.db.models.log_shipper import Destination as Row
from flotilla_common.testing import eventually
from log_shipper.consumers.condition import LONGEST_ASKED_SECONDS, Condition
from log_shipper.domain.nowhere import NowhereSink
from log_shipper.domain.running import running
from log_shipper.errors import DestinationDown

from ..conftest import QUICK, balanced
from .test_duplicates import LIMITS, Mailbox


class Throttled(Mailbox):
    """A mailbox that asks once to be left alone."""

    limits = dataclasses.replace(LIMITS)

    def __init__(self, seconds: float) -> None:
        super().__init__([])
        self.asks = [seconds]
        self.tried_at: list[float] = []

    async def deliver(self, batch, target):
        self.tried_at.append(time.monotonic())
        if self.asks:
            raise DestinationDown("429: too many", retry_after=self.asks.pop())
        return await super().deliver(batch, target)


async def test_a_destination_is_left_alone_as_long_as_it_asks(gateway, deps, shipping):
    throttled = Throttled(1.0)
    await gateway.send()

    async with shipping(deps, throttled):

        async def delivered() -> bool:
            return (await balanced(deps))["mailbox", "result"].delivered == 3

        await eventually(delivered)

    first, second = throttled.tried_at
    assert 1.0 <= second - first < 3.0


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (DestinationDown("x", retry_after=40.0), 40.0),
        (DestinationDown("x", retry_after=1e9), LONGEST_ASKED_SECONDS),
        (DestinationDown("x", retry_after=0.001), QUICK.first_seconds),
        (DestinationDown("x"), QUICK.first_seconds),
        (ValueError("x"), QUICK.first_seconds),
    ],
)
async def test_the_longer_of_back_off_and_wish_counts_and_no_wish_is_endless(deps, monkeypatch, error, wanted):
    spec = Destination(name="any", kind="file", retry=Retry(first_seconds=0.05, longest_seconds=0.2))
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    await Condition(running(spec, NowhereSink()), deps).wait_after(error)

    assert waited[-1] == wanted


async def test_a_destination_that_was_repaired_does_not_fail_any_more(gateway, deps, shipping):
    async def is_failing(so: bool) -> bool:
        async with deps.sessions.begin() as session:
            row = await session.get(Row, "mailbox")
            return (row.failing_since is not None, bool(row.last_error)) == (so, so)

    broken, whole = Throttled(300.0), Mailbox([])
    await gateway.send()
    async with shipping(deps, broken):
        await eventually(lambda: is_failing(True))
    async with shipping(deps, whole):
        await eventually(lambda: is_failing(False))

    assert whole.received == gateway.sent["result"]


async def test_a_destination_that_cannot_even_plan_fails_all_the_time_and_is_left_alone_ever_longer(
    gateway, deps, shipping, database
):
    class Planless(Mailbox):
        spec = Destination(name="mailbox", kind="file", retry=Retry(first_seconds=0.05, longest_seconds=10.0))
        planned_at: list[float] = []

        async def plan(self, first_sequence, last_sequence, started_at):
            self.planned_at.append(time.monotonic())
            raise DestinationDown("no bucket")

    planless, since = Planless([]), set()
    await gateway.send()
    async with shipping(deps, planless):

        async def has_failed_often() -> bool:
            [row] = await database.rows(Row)
            since.add(row.failing_since)
            return len(planless.planned_at) >= 5

        await eventually(has_failed_often)

    at = planless.planned_at
    assert len(since - {None}) == 1
    assert at[4] - at[3] > 2 * (at[1] - at[0])

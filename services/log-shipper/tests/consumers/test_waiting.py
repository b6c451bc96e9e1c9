"""How long a worker waits after a failure."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from flotilla_common.contracts.log_dead_letters import LetterChoice, ReplayDeadLettersV1
from flotilla_common.contracts.log_destinations import Destination, Retry
from flotilla_common.db.models.log_shipper import Destination as Row
from flotilla_common.testing import eventually
from log_shipper.consumers.condition import LONGEST_ASKED_SECONDS, Condition
from log_shipper.domain.nowhere import NowhereSink
from log_shipper.domain.running import running
from log_shipper.errors import DestinationDown
from structlog.testing import capture_logs

from ..conftest import QUICK, balanced
from .test_duplicates import LIMITS, Mailbox, settled


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


class Planless(Mailbox):
    """A mailbox for which nothing can be planned, from some time on."""

    spec = Destination(name="mailbox", kind="file", retry=Retry(first_seconds=0.05, longest_seconds=10.0))

    def __init__(self, *, is_whole: bool = False) -> None:
        super().__init__([])
        self.is_whole = is_whole
        self.failures = 0

    async def plan(self, first_sequence, last_sequence, started_at):
        if self.is_whole:
            return {}
        self.failures += 1
        raise DestinationDown("no bucket")

    async def fails_steadily(self, database, logs) -> None:
        """See it fail some times, and insist that it is known to fail all the time and is left alone ever longer."""
        since = set()

        async def has_failed_often() -> bool:
            [row] = await database.rows(Row)
            since.add(row.failing_since)
            return self.failures >= 5

        await eventually(has_failed_often)
        assert len(since - {None}) == 1
        waits = [entry["seconds"] for entry in logs if entry["event"] == "destination waits"]
        assert waits[:4] == [0.05, 0.1, 0.2, 0.4]


async def test_a_destination_that_cannot_even_plan_fails_all_the_time(gateway, deps, shipping, database):
    planless = Planless()
    await gateway.send()
    with capture_logs() as logs:
        async with shipping(deps, planless):
            await planless.fails_steadily(database, logs)


async def test_so_does_one_that_cannot_plan_what_is_sent_once_more(gateway, deps, shipping, database, bus_for):
    planless = Planless(is_whole=True)
    planless.refused = {b'{"number":0}'}
    await gateway.send()
    async with shipping(deps, planless):
        await eventually(lambda: settled(deps, delivered=2, duplicates=0, dead_lettered=1))
        planless.is_whole = False
        choice = LetterChoice(destination="mailbox")
        with capture_logs() as logs:
            await (await bus_for("admin_api")).request(ReplayDeadLettersV1(choice=choice))
            await planless.fails_steadily(database, logs)

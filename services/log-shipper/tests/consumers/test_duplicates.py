"""A destination that can only be added to: what a retry brings twice is as little as can be, and it is counted."""

from __future__ import annotations

from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.testing import eventually
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Limits, Refusal, Target

from ..conftest import QUICK, Crash, balanced

LIMITS = Limits(batch_bytes=8_000_000, batch_lines=100_000, batch_seconds=0.0)


class Mailbox:
    """Stands for a service that takes line after line, and for a network that fails where a test says."""

    spec = Destination(name="mailbox", kind="file", retry=QUICK)
    replaces = False
    limits = LIMITS

    def __init__(self, received: list[bytes]) -> None:
        self.received = received
        self.unanswered: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.fatal: set[bytes] = set()
        self.silences = 1  # so often a line of `unanswered` is taken without a word

    async def plan(self, first_sequence: int, last_sequence: int, started_at: object) -> Target:
        return {}

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        for line in batch.missing():
            if line.raw in self.refused:
                batch.progress.refuse(line, "no such mailbox")
                continue
            self.received.append(line.raw)
            if line.raw in self.fatal:
                raise Crash
            if line.raw in self.unanswered and self.received.count(line.raw) <= self.silences:
                batch.progress.doubt([line])
                raise DestinationDown("no answer came")
            batch.progress.accept([line])
        return []

    async def close(self) -> None:
        pass


async def settled(deps, delivered: int, duplicates: int, dead_lettered: int = 0) -> bool:
    entry = (await balanced(deps))["mailbox", "result"]
    return (entry.delivered, entry.duplicates, entry.dead_lettered, entry.pending) == (
        delivered, duplicates, dead_lettered, 0,
    )  # fmt: skip


async def test_a_line_without_an_answer_is_sent_again_alone_and_counted(gateway, deps, shipping):
    mailbox = Mailbox([])
    mailbox.unanswered = {b'{"number":1}', b'{"number":4}'}
    await gateway.send("result", 6)

    async with shipping(deps, mailbox):
        await eventually(lambda: settled(deps, 6, 2))

    numbers = [int(line[10:-1]) for line in mailbox.received]
    assert numbers == [0, 1, 1, 2, 3, 4, 4, 5]


async def test_what_was_refused_is_not_sent_again(gateway, deps, shipping):
    mailbox = Mailbox([])
    mailbox.refused, mailbox.unanswered = {b'{"number":0}'}, {b'{"number":2}'}
    await gateway.send("result", 4)

    async with shipping(deps, mailbox):
        await eventually(lambda: settled(deps, 3, 1, dead_lettered=1))

    assert [int(line[10:-1]) for line in mailbox.received] == [1, 2, 2, 3]


async def test_a_database_that_is_down_after_the_delivery_brings_nothing_twice(gateway, deps, shipping, database):
    mailbox = Mailbox([])
    await gateway.send("result", 6)
    async with shipping(deps, mailbox):
        await eventually(lambda: settled(deps, 6, 0))
        for _ in range(3):
            await gateway.send("result", 6, messages=5)
            seen = len(mailbox.received)
            await eventually(lambda least=seen: len(mailbox.received) > least)
            await database.cut_connections("log_shipper")
        await eventually(lambda: settled(deps, 96, 0), timeout=30.0)

    assert mailbox.received == gateway.sent["result"]


async def test_after_a_death_the_books_say_how_many_may_stand_there_twice(gateway, deps, shipping):
    dying = Mailbox([])
    dying.fatal = {b'{"number":3}'}
    await gateway.send("result", 6)
    async with shipping(deps, dying):
        await eventually(lambda: dying.received.count(b'{"number":3}') >= 2)  # the process lives on, and goes on there
    assert dying.received.count(b'{"number":2}') == 1

    heir = Mailbox(dying.received)
    async with shipping(deps, heir):
        await eventually(lambda: settled(deps, 6, 6))

    assert sorted(set(heir.received)) == sorted(gateway.sent["result"])


async def test_every_copy_counts_also_those_of_a_process_that_died(gateway, deps, shipping):
    dying = Mailbox([])
    dying.unanswered, dying.silences, dying.fatal = {b'{"number":1}'}, 2, {b'{"number":2}'}
    await gateway.send("result", 3)
    async with shipping(deps, dying):
        await eventually(lambda: dying.received.count(b'{"number":2}') >= 2)
    assert dying.received.count(b'{"number":1}') == 3

    heir = Mailbox([])
    async with shipping(deps, heir):
        await eventually(lambda: settled(deps, 3, 9))  # three tries, each of which may have brought all three lines


async def test_a_line_that_is_refused_in_the_end_may_be_there_all_the_same(gateway, deps, shipping):
    mailbox = Mailbox([])
    mailbox.unanswered, mailbox.silences = {b'{"number":1}'}, 1
    await gateway.send("result", 3)
    real = mailbox.deliver

    async def deliver(batch, target):
        if b'{"number":1}' in mailbox.received:
            mailbox.refused = {b'{"number":1}'}
        return await real(batch, target)

    mailbox.deliver = deliver
    async with shipping(deps, mailbox):
        await eventually(lambda: settled(deps, 2, 1, dead_lettered=1))
    assert mailbox.received.count(b'{"number":1}') == 1

"""The books balance at every look, whatever happens in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from flotilla_common.contracts.log_ledger import LogLedgerV1
from flotilla_common.db.models.log_shipper import Destination, Intake, Reader
from flotilla_common.testing import eventually
from log_shipper.consumers.purge import purge_once
from log_shipper.domain.ledger import read_ledger
from log_shipper.domain.spilling import Keeping
from log_shipper.metrics import LINES, UNBALANCED, show
from log_shipper.store import destinations
from log_shipper.store.readers import HOST_LOSSES
from log_shipper.store.stream import state
from sqlalchemy import text

from ..conftest import balanced, count_on, lines_in, to_file

HOUR = timedelta(hours=1)


async def test_lines_that_nobody_has_seen_yet_are_received_and_pending(gateway, deps, database):
    await database.add(Destination(name="file"), Intake(id=1))
    await gateway.send("result", 5, messages=2)
    await gateway.send("status", 1)

    books = await balanced(deps)

    assert (books["file", "result"].received, books["file", "result"].pending) == (10, 10)
    assert (books["file", "status"].received, books["file", "status"].pending) == (1, 1)


async def test_the_books_balance_at_every_look_while_lines_come_and_go(gateway, deps, shipping, directory):
    looks = 0

    async def keep_sending() -> None:
        for _ in range(60):
            await gateway.send("result", 7)
            await gateway.send_raw(b"rubbish", "2", "status")

    async with shipping(deps, to_file(directory, log_types={"result"})):
        sending = asyncio.create_task(keep_sending())
        while not sending.done():
            await balanced(deps)
            looks += 1

        async def all_settled():
            books = await balanced(deps)
            return books["file", "result"].delivered == 420 and books["file", "status"].pending == 0 and books

        await sending
        books = await eventually(all_settled)
    assert looks > 3
    assert books["file", "result"].received == 420
    assert len(lines_in(directory)) == 420
    assert books["file", "status"].dead_lettered == 120


async def test_other_log_types_are_filtered(gateway, deps, shipping, directory):
    async with shipping(deps, to_file(directory, log_types={"result"})):
        await gateway.send("result", 2)
        await gateway.send("status", 4)

        async def all_settled():
            books = await balanced(deps)
            return books["file", "result"].delivered == 2 and books["file", "status"].filtered == 4

        await eventually(all_settled)


async def test_received_survives_the_purge(gateway, deps, shipping, directory, database):
    async with shipping(deps, to_file(directory)):
        await gateway.send("result", 5, messages=10)

        async def counted():
            rows = await database.rows(Intake) + await database.rows(Reader) + await database.rows(Destination)
            return [row.cursor_sequence for row in rows] == [10, 10, 10]

        await eventually(counted)
        await purge_once(deps, Keeping(0.0))
        assert (await state(deps.bus)).messages == 0
        assert (await balanced(deps))["file", "result"].received == 50
        await gateway.send("result", 5)
        assert (await balanced(deps))["file", "result"].received == 55
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])


async def test_nothing_is_purged_that_a_destination_lacks(gateway, deps, database):
    await database.add(Destination(name="file", cursor_sequence=4), Destination(name="s3", cursor_sequence=2))
    await database.add(Intake(id=1, cursor_sequence=3))
    await gateway.send(messages=5)
    made_at = (await state(deps.bus)).created_at
    await database.add(Reader(name=HOST_LOSSES, cursor_sequence=5, stream_created_at=made_at))

    await purge_once(deps, Keeping(0.0))

    assert (await state(deps.bus)).first_sequence == 3


async def test_the_replay_window_is_kept(gateway, deps, database):
    await database.add(Destination(name="file", cursor_sequence=5), Intake(id=1, cursor_sequence=5))
    await gateway.send(messages=5)
    made_at = (await state(deps.bus)).created_at
    await database.add(Reader(name=HOST_LOSSES, cursor_sequence=5, stream_created_at=made_at))

    await purge_once(deps, Keeping(0.5))

    assert (await state(deps.bus)).first_sequence == 1


async def test_admin_api_can_ask_for_the_ledger(gateway, deps, shipping, directory, bus_for):
    async with shipping(deps, to_file(directory)):
        await gateway.send("result", 5)
        answer = await (await bus_for("admin_api")).request(LogLedgerV1())

    [entry] = [entry for entry in answer.entries if entry.log_type == "result"]
    assert answer.stream_sequence == 1
    assert entry.received == 5


async def test_metrics_show_the_books(gateway, deps, database):
    await database.add(Destination(name="metered"), Intake(id=1))
    await gateway.send("result", 5)

    show(await read_ledger(deps.sessions, deps.bus))

    assert LINES.labels("metered", "result", "pending")._value.get() == 5
    assert UNBALANCED.labels("metered", "result")._value.get() == 0


async def test_numbers_that_a_stream_has_given_twice_lose_no_line(gateway, deps, shipping, directory, database):
    """A power cut took messages that were settled; others came under their numbers before log-shipper looked."""
    async with shipping(deps, to_file(directory)):
        await gateway.send(messages=4)
        await eventually(lambda: len(lines_in(directory)) == 12)
        await eventually(lambda: is_counted(deps, 4))
    await gateway.send(messages=4)
    async with deps.sessions.begin() as session:  # as if it had settled eight messages, the last of them at that time
        await session.execute(text("UPDATE log_shipper.destinations SET cursor_sequence = 7"))
        await session.execute(text("UPDATE log_shipper.intake SET cursor_sequence = 8"))

    async with shipping(deps, to_file(directory)):
        await eventually(lambda: len(lines_in(directory)) == 24)
        await eventually(lambda: is_counted(deps, 8))
        entry = (await balanced(deps))["file", "result"]

    assert lines_in(directory) == gateway.sent["result"]
    assert (entry.received, entry.delivered) == (24, 24)


async def is_counted(deps, sequence: int) -> bool:
    async with deps.sessions.begin() as session:
        return await destinations.intake(session) == sequence


async def test_what_is_not_counted_is_not_purged_when_the_stream_was_made_anew(gateway, deps, database):
    await gateway.send(messages=5)
    made_at = (await state(deps.bus)).created_at
    await database.add(
        Destination(name="file", cursor_sequence=5, stream_created_at=made_at),
        Intake(id=1, cursor_sequence=100, stream_created_at=made_at - HOUR),
        Reader(name=HOST_LOSSES, cursor_sequence=5, stream_created_at=made_at),
    )

    await purge_once(deps, Keeping(0.0))

    assert (await state(deps.bus)).first_sequence == 1


async def test_one_that_was_taken_away_gets_nothing_of_a_stream_that_was_made_anew(gateway, deps, database):
    await gateway.send(messages=5)
    made_at = (await state(deps.bus)).created_at
    await database.add(
        Destination(name="gone", cursor_sequence=100, until_sequence=100, stream_created_at=made_at - HOUR)
    )

    before = await balanced(deps)
    await count_on(deps)
    after = await balanced(deps)
    await purge_once(deps, Keeping(0.0))

    for books in (before, after, await balanced(deps)):
        assert (books["gone", "result"].received, books["gone", "result"].pending) == (0, 0)


async def test_one_that_comes_back_after_that_gets_what_comes_from_then_on(
    gateway, deps, database, shipping, directory
):
    await gateway.send(messages=5)
    made_at = (await state(deps.bus)).created_at
    await database.add(
        Destination(
            name="file", cursor_sequence=100, until_sequence=100, counted_from=50, stream_created_at=made_at - HOUR
        )
    )
    await count_on(deps)

    async with shipping(deps, to_file(directory)):
        await gateway.send(messages=2)
        await eventually(lambda: lines_in(directory) == gateway.sent["result"][-6:])

        async def is_counted_and_settled() -> bool:
            entry = (await balanced(deps))["file", "result"]
            return (entry.received, entry.delivered, entry.pending) == (6, 6, 0)

        await eventually(is_counted_and_settled)

"""Delivery: everything once and in order, whatever dies when."""

from __future__ import annotations

from flotilla_common.db.models.log_shipper import Batch as RecordedBatch
from flotilla_common.db.models.log_shipper import Destination, Intake, Reader
from flotilla_common.testing import eventually
from log_shipper.consumers.purge import purge_once
from log_shipper.domain.spilling import Keeping
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Limits, Refusal
from log_shipper.store.stream import state

from ..conftest import WatchedSink, balanced, crash, lines_in, to_file


def is_down() -> None:
    raise DestinationDown("no route")


async def is_true(found, wanted) -> bool:
    return await found == wanted


async def test_every_line_arrives_once_and_in_order(gateway, deps, shipping, directory):
    await gateway.send("result", 5, messages=10)
    async with shipping(deps, to_file(directory)):
        await gateway.send("result", 1, messages=10)
        await gateway.send("status", 2, messages=3)
        await eventually(lambda: len(lines_in(directory)) == 60 and len(lines_in(directory, "status")) == 6)

    assert lines_in(directory) == gateway.sent["result"]
    assert lines_in(directory, "status") == gateway.sent["status"]


async def test_bytes_are_delivered_as_they_came(gateway, deps, shipping, directory):
    odd = [
        b'{"a":"x\\ny"}',
        b'{"b":"\xff\xfe\x00"}',
        b"",
        b"not json",
        b'{"c":"' + b"x" * 300_000 + b'"}',
        "{\u2028}".encode(),
    ]
    await gateway.send_lines(odd)

    async with shipping(deps, to_file(directory)):
        await eventually(lambda: len(lines_in(directory)) == len(odd))

    assert lines_in(directory) == odd


async def test_a_crash_before_the_delivery_loses_nothing(gateway, deps, shipping, directory, database):
    sink = to_file(directory)
    sink.before = crash
    await gateway.send(messages=4)
    async with shipping(deps, sink):
        await eventually(lambda: database.rows(RecordedBatch))
        [recorded] = await database.rows(RecordedBatch)
    assert recorded.delivered_at is None
    assert (await balanced(deps))["file", "result"].pending == 12
    await gateway.send(messages=4)

    async with shipping(deps, to_file(directory)):
        await eventually(lambda: len(lines_in(directory)) == 24)

    assert lines_in(directory) == gateway.sent["result"]


async def test_a_crash_between_delivery_and_cursor_leaves_no_duplicate(gateway, deps, shipping, directory, database):
    await gateway.send(messages=2)
    async with shipping(deps, to_file(directory)):
        await eventually(lambda: len(lines_in(directory)) == 6)
    await gateway.send(messages=2)
    sink = to_file(directory)
    sink.after = crash
    async with shipping(deps, sink):
        await eventually(lambda: len(sink.batches) >= 3)  # written, died, and written again
        await balanced(deps)
    await gateway.send(messages=2)

    async with shipping(deps, to_file(directory)):

        async def all_settled() -> bool:
            entry = (await balanced(deps))["file", "result"]
            return (entry.received, entry.delivered, entry.pending) == (18, 18, 0)

        await eventually(all_settled)

    assert lines_in(directory) == gateway.sent["result"]
    assert {batch.last_sequence for batch in sink.batches} == {sink.batches[0].last_sequence}


async def test_a_destination_that_is_down_holds_only_its_own_cursor(gateway, deps, shipping, directory, tmp_path):
    other = to_file(tmp_path / "other", name="other")

    other.before = is_down
    async with shipping(deps, to_file(directory), other):
        await gateway.send(messages=5)
        await eventually(lambda: len(lines_in(directory)) == 15)
        books = await balanced(deps)
        assert books["other", "result"].pending == 15
        assert books["file", "result"].delivered + books["file", "result"].pending == 15
        other.before = None
        await eventually(lambda: lines_in(tmp_path / "other") == gateway.sent["result"])


async def test_a_message_without_a_sound_manifest_is_buried_and_blocks_nobody(gateway, deps, shipping, directory):
    await gateway.send()
    await gateway.send_raw(b"rubbish", "4")
    await gateway.send_raw(b'{"v":1,"type":"result","segments":[[1,0,0,2,5]]}\n{}\n', "2")
    await gateway.send_raw(b"{}\n", None)
    await gateway.send()

    async with shipping(deps, to_file(directory)):
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])

        async def all_settled():
            entry = (await balanced(deps))["file", "result"]
            return entry.pending == 0 and entry

        entry = await eventually(all_settled)
    assert (entry.received, entry.delivered, entry.dead_lettered) == (13, 6, 7)


async def test_dead_letters_carry_reason_and_position(gateway, deps, shipping, directory, nats_server, provision_js):
    await gateway.send_raw(b"rubbish", "4", "status")

    async with shipping(deps, to_file(directory)):
        dead = await eventually(provision_js.last_dead)

    assert dead.data == b"rubbish"
    assert dead.headers["Reason"] == "there is no manifest line"
    assert dead.headers["Original-Sequence"] == "1"
    assert dead.headers["Original-Subject"] == "logs.status.v1.3"
    assert dead.headers["Destination"] == "file"


async def test_lines_too_long_for_a_destination_are_buried_alone(gateway, deps, shipping, directory, provision_js):
    sink = to_file(directory, limits=Limits(1_000_000, 1000, 0.0, line_bytes=20))
    await gateway.send_lines([b"short", b"x" * 21, b"short too"])

    async with shipping(deps, sink):
        await eventually(lambda: lines_in(directory) == [b"short", b"short too"])
        dead = await eventually(provision_js.last_dead)

        async def counted():
            entry = (await balanced(deps))["file", "result"]
            return (entry.delivered, entry.dead_lettered, entry.pending) == (2, 1, 0)

        await eventually(counted)
    assert dead.data.endswith(b"}\n" + b"x" * 21 + b"\n")
    assert dead.headers["Original-Sequence"] == "1"


async def test_lines_refused_for_good_are_buried_and_counted(gateway, deps, shipping, directory, provision_js):
    class Picky(WatchedSink):
        async def deliver(self, batch, target):
            await super().deliver(batch, target)
            return [Refusal(batch.first_sequence, "result", 0, b"line 0", "400 bad field")]

    await gateway.send(lines=3)
    async with shipping(deps, Picky(to_file(directory))):
        dead = await eventually(provision_js.last_dead)

        async def counted():
            entry = (await balanced(deps))["file", "result"]
            return (entry.delivered, entry.dead_lettered, entry.pending) == (2, 1, 0)

        await eventually(counted)
    assert dead.headers["Reason"] == "400 bad field"


async def test_two_replicas_do_not_both_deliver(gateway, make_deps, shipping, directory):
    sinks = [to_file(directory), to_file(directory)]
    async with shipping(await make_deps(), sinks[0]), shipping(await make_deps(), sinks[1]):
        for _ in range(20):
            await gateway.send()
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])

        await eventually(lambda: any(sink.batches for sink in sinks))
    assert sorted(bool(sink.batches) for sink in sinks) == [False, True]


async def test_another_replica_takes_over(gateway, make_deps, shipping, directory):
    second = to_file(directory)
    async with shipping(await make_deps(), to_file(directory)):
        await gateway.send()
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])
        waiting = shipping(await make_deps(), second)
        await waiting.__aenter__()
    await gateway.send()

    await eventually(lambda: lines_in(directory) == gateway.sent["result"])
    await eventually(lambda: [len(batch.chunks) for batch in second.batches] == [1])
    await waiting.__aexit__(None, None, None)


async def counted(database, sequence: int) -> bool:
    """Whether the intake and who counts hosts' losses are there."""
    return [row.cursor_sequence for row in await database.rows(Intake) + await database.rows(Reader)] == [sequence] * 2


async def books_of(deps, name: str) -> tuple[int, int, int, int]:
    entry = (await balanced(deps))[name, "result"]
    return entry.received, entry.filtered, entry.delivered, entry.pending


async def test_a_destination_that_nobody_declares_any_more_filters_what_it_lacks(
    gateway, deps, shipping, directory, tmp_path, database
):
    other = to_file(tmp_path / "other", name="other")
    async with shipping(deps, to_file(directory), other):
        await gateway.send()
        await eventually(lambda: is_true(books_of(deps, "other"), (3, 0, 3, 0)))
        other.before = is_down
        await gateway.send(messages=2)
        await eventually(lambda: counted(database, 3))

    async with shipping(deps, to_file(directory)):
        await eventually(lambda: is_true(books_of(deps, "other"), (9, 6, 3, 0)))
        await gateway.send()
        await eventually(lambda: is_true(books_of(deps, "file"), (12, 0, 12, 0)))
        assert await books_of(deps, "other") == (9, 6, 3, 0)
        await eventually(lambda: counted(database, 4))
        await purge_once(deps, Keeping(0.0))
    assert len(lines_in(tmp_path / "other")) == 3
    assert (await state(deps.bus)).messages == 0


async def test_a_destination_taken_away_while_a_batch_is_unsettled_filters_that_batch(
    gateway, deps, shipping, directory, tmp_path, database
):
    other = to_file(tmp_path / "other", name="other")
    other.after = crash
    async with shipping(deps, to_file(directory), other):
        await gateway.send()
        await eventually(lambda: len(lines_in(tmp_path / "other")) == 3)
        await eventually(lambda: counted(database, 1))

    async with shipping(deps, to_file(directory)):
        await eventually(lambda: is_true(books_of(deps, "other"), (3, 3, 0, 0)))


async def test_a_destination_that_another_replica_declares_is_not_taken_away(
    gateway, deps, make_deps, shipping, directory, tmp_path
):
    other = to_file(tmp_path / "other", name="other")
    async with shipping(deps, to_file(directory), other), shipping(await make_deps(), undeclared=60.0):
        await gateway.send()
        await eventually(lambda: lines_in(tmp_path / "other") == gateway.sent["result"])

    assert await books_of(deps, "other") == (3, 0, 3, 0)


async def test_a_destination_that_comes_back_begins_where_the_intake_stands(
    gateway, deps, shipping, directory, database
):
    async with shipping(deps, to_file(directory)):
        await gateway.send()
        await eventually(lambda: is_true(books_of(deps, "file"), (3, 0, 3, 0)))
    async with shipping(deps):
        await gateway.send(messages=2)
        await eventually(lambda: counted(database, 3))

    async with shipping(deps, to_file(directory)):
        await gateway.send()
        await eventually(lambda: is_true(books_of(deps, "file"), (6, 0, 6, 0)))
    assert lines_in(directory) == gateway.sent["result"][:3] + gateway.sent["result"][9:]


async def test_a_destination_added_later_begins_where_the_intake_stands(
    gateway, deps, shipping, directory, tmp_path, database
):
    async with shipping(deps, to_file(directory)):
        await gateway.send()

        async def counted():
            return [row.cursor_sequence for row in await database.rows(Intake)] == [1]

        await eventually(counted)
    other = to_file(tmp_path / "other", name="other")
    async with shipping(deps, to_file(directory), other):
        await gateway.send()
        await eventually(lambda: lines_in(tmp_path / "other") == gateway.sent["result"][3:])
        books = await balanced(deps)
    assert books["other", "result"].received == 3
    assert books["file", "result"].received == 6


async def test_a_stream_made_anew_is_read_from_its_beginning(gateway, deps, shipping, directory, remake_streams):
    async with shipping(deps, to_file(directory)):
        await gateway.send(messages=4)

        async def all_settled() -> bool:
            entry = (await balanced(deps))["file", "result"]
            return entry.delivered == 12 and entry.received == 12

        await eventually(all_settled)
    await remake_streams()
    await gateway.send(messages=6)

    async with shipping(deps, to_file(directory)):
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])


async def test_a_stream_that_ends_before_the_cursor_goes_on_where_it_ends(gateway, deps, shipping, directory, database):
    await gateway.send()
    await database.add(Destination(name="file", cursor_sequence=100), Intake(id=1, cursor_sequence=100))
    async with shipping(deps, to_file(directory)):

        async def moved() -> bool:
            return [row.cursor_sequence for row in await database.rows(Destination)] == [1]

        await eventually(moved)
        await gateway.send()
        await eventually(lambda: lines_in(directory) == gateway.sent["result"][3:])

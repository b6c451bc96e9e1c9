"""A destination that lags: what it lacks goes to the blob store and comes back, and the books know where it is."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.log_destinations import Backlog
from flotilla_common.db.models.log_shipper import Destination, Segment
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from log_shipper.consumers import purge as janitor
from log_shipper.consumers.purge import clean, purge_once, spill_once
from log_shipper.domain.spilling import Keeping
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Limits
from log_shipper.store import segments
from log_shipper.store.stream import state

from ..conftest import all_counted, balanced, count_on, lines_in, to_file

MIB = 1024 * 1024
NOTHING_KEPT = Keeping(0.0)


def is_down() -> None:
    raise DestinationDown("no route")


def lagging(directory, **backlog):
    sink = to_file(directory, name="slow", limits=Limits(batch_bytes=MIB, batch_lines=1000, batch_seconds=0.0))
    sink.spec = sink.spec.model_copy(update={"backlog": Backlog(bytes=MIB, **backlog)})
    sink.before = is_down
    return sink


async def send_much(gateway, mebibytes: int) -> None:
    """Lines that differ and do not shrink much, 64 KiB a message."""
    for _ in range(mebibytes * 16):
        await gateway.send_lines([os.urandom(8000).hex().encode() for _ in range(4)])


async def spill_all(deps, keeping=NOTHING_KEPT) -> int:
    """Do the janitor's work now, while no other does; return how many parts were stored."""
    parts = 0
    await count_on(deps)
    while await spill_once(deps, keeping):
        parts += 1
    await purge_once(deps, keeping)
    return parts


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of the stream of half a mebibyte."""
    monkeypatch.setattr(janitor, "SEGMENT_BYTES", MIB // 2)


async def test_what_lags_is_stored_purged_counted_and_delivered(gateway, deps, shipping, directory, small_parts):
    sink = lagging(directory)
    async with shipping(deps, sink, replay_window=0.0):
        await send_much(gateway, 3)
        await eventually(lambda: all_received(deps, 192))
        await eventually(lambda: is_purged(deps))
        books = (await balanced(deps))["slow", "result"]
        assert (books.received, books.pending) == (192, 192)
        async with deps.sessions.begin() as session:
            assert await segments.stored_bytes(session) > MIB
        sink.before = None
        await eventually(lambda: len(lines_in(directory)) == 192)
        await eventually(lambda: nothing_pending(deps))

    assert lines_in(directory) == gateway.sent["result"]


async def is_purged(deps) -> bool:
    """Whether all went that may not wait in the stream."""
    return (await state(deps.bus)).first_sequence > 30


async def all_received(deps, lines: int) -> bool:
    return (await balanced(deps))["slow", "result"].received == lines


async def nothing_pending(deps) -> bool:
    entry = (await balanced(deps))["slow", "result"]
    return entry.pending == 0 and entry.delivered == entry.received


async def test_the_books_balance_wherever_a_cursor_stands(gateway, deps, shipping, directory, small_parts):
    sink = lagging(directory)
    async with shipping(deps, sink, replay_window=0.0):
        await send_much(gateway, 3)
        await eventually(lambda: all_received(deps, 192))
        await eventually(lambda: is_purged(deps))

    def once() -> None:
        """One batch gets through at each start."""
        if len(sink.batches) > batches:
            is_down()

    sink.before = once
    for _ in range(4):
        batches = len(sink.batches)
        async with shipping(deps, sink):
            await eventually(lambda: len(sink.batches) > batches)  # noqa: B023 - awaited at once
            await eventually(lambda: settled(deps, len(lines_in(directory))))
            books = (await balanced(deps))["slow", "result"]
            assert (books.received, books.delivered + books.pending) == (192, 192)
    assert 0 < len(lines_in(directory)) < 192


async def settled(deps, lines: int) -> bool:
    return (await balanced(deps))["slow", "result"].delivered == lines


async def test_a_reader_whose_messages_are_purged_finds_them_again(gateway, deps, shipping, directory, small_parts):
    sink = lagging(directory)
    sink.before = None
    async with shipping(deps, sink, replay_window=0.0):
        await gateway.send()
        await eventually(lambda: len(lines_in(directory)) == 3)  # it reads from the stream
        sink.before = is_down
        await send_much(gateway, 3)
        await eventually(lambda: all_received(deps, 195))
        await eventually(lambda: is_purged(deps))
        await gateway.send()
        sink.before = None
        await eventually(lambda: len(lines_in(directory)) == 198)

    assert lines_in(directory) == gateway.sent["result"]


async def test_an_object_that_was_stored_and_not_counted_in_is_nothing_and_goes(
    gateway, deps, shipping, directory, database, small_parts, monkeypatch
):
    sink = lagging(directory)
    async with shipping(deps, sink):
        await send_much(gateway, 3)
        await eventually(lambda: all_received(deps, 192))

    async def dies(*args: object) -> None:
        raise RuntimeError("died")

    await count_on(deps)
    with monkeypatch.context() as patch:
        patch.setattr(janitor.segments, "count_in", dies)
        with pytest.raises(RuntimeError):
            await spill_once(deps, NOTHING_KEPT)
    [unfinished] = await database.rows(Segment)
    assert await deps.blobs.get(unfinished.object_name) is not None
    await purge_once(deps, NOTHING_KEPT)
    assert (await state(deps.bus)).first_sequence == 1

    await spill_all(deps)
    monkeypatch.setattr(janitor, "REST", timedelta(seconds=0))
    await clean(deps, NOTHING_KEPT)
    assert await deps.blobs.get(unfinished.object_name) is None
    sink.before = None
    async with shipping(deps, sink):
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])


async def test_a_blob_store_that_is_down_purges_nothing(gateway, deps, shipping, directory, small_parts, monkeypatch):
    sink = lagging(directory)
    async with shipping(deps, sink):
        await send_much(gateway, 2)
        await eventually(lambda: all_received(deps, 128))

    async def is_away(*args: object) -> None:
        raise Unavailable("blob store: away")

    await count_on(deps)
    with monkeypatch.context() as patch:
        patch.setattr(deps.blobs, "put", is_away)
        with pytest.raises(Unavailable):
            await spill_once(deps, NOTHING_KEPT)
        await purge_once(deps, NOTHING_KEPT)
    assert (await state(deps.bus)).first_sequence == 1


async def test_a_damaged_part_holds_its_destination_and_is_passed_over_by_nobody(
    gateway, deps, shipping, directory, database, small_parts
):
    sink = lagging(directory)
    async with shipping(deps, sink, replay_window=0.0):
        await send_much(gateway, 3)
        await eventually(lambda: all_received(deps, 192))
        await eventually(lambda: is_purged(deps))
        damaged = (await database.rows(Segment))[0]
        good = await deps.blobs.get(damaged.object_name)
        await deps.blobs.put(damaged.object_name, good[:-9])
        sink.before = None
    async with shipping(deps, sink):
        await eventually(lambda: says(database, "cannot be read"))
        assert (await balanced(deps))["slow", "result"].pending == 192
        await deps.blobs.put(damaged.object_name, good)
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])


async def says(database, words: str) -> bool:
    return any(words in row.last_error for row in await database.rows(Destination))


async def test_parts_go_when_everybody_has_them(gateway, deps, shipping, directory, database, small_parts, monkeypatch):
    sink = lagging(directory)
    async with shipping(deps, sink, replay_window=0.0):
        await send_much(gateway, 3)
        await eventually(lambda: all_received(deps, 192))
        await eventually(lambda: is_purged(deps))
        names = [row.object_name for row in await database.rows(Segment)]
        await clean(deps, NOTHING_KEPT)
        assert all(row.removing_at is None for row in await database.rows(Segment))
        sink.before = None
        await eventually(lambda: nothing_pending(deps))
    await clean(deps, Keeping(0.0, days=1))
    assert len(await database.rows(Segment)) == len(names) >= 3

    await clean(deps, NOTHING_KEPT)
    assert await deps.blobs.get(names[0]) is not None  # someone may be reading it
    monkeypatch.setattr(janitor, "REST", timedelta(seconds=0))
    await clean(deps, NOTHING_KEPT)

    assert not await database.rows(Segment)
    assert [await deps.blobs.get(name) for name in names] == [None] * len(names)


async def test_parts_are_kept_for_one_that_has_never_begun(gateway, deps, shipping, directory, database, small_parts):
    """A destination that was paused at once, or cannot be opened."""
    await database.add(Destination(name="slow", kind="file", paused_at=utc_now(), spec={"backlog": {"bytes": MIB}}))
    async with shipping(deps, lagging(directory)):
        await send_much(gateway, 2)
        await eventually(lambda: all_received(deps, 128))
        await eventually(lambda: all_counted(deps))
    await spill_all(deps)
    [row] = await database.rows(Destination)
    assert row.stream_created_at is None

    await clean(deps, NOTHING_KEPT)

    assert [part.removing_at for part in await database.rows(Segment)][:1] == [None]
    assert all(part.removing_at is None for part in await database.rows(Segment))


async def test_what_is_required_waits_in_the_stream(gateway, deps, shipping, directory, small_parts):
    sink = lagging(directory, required=True)
    async with shipping(deps, sink):
        await send_much(gateway, 2)
        await eventually(lambda: all_received(deps, 128))

    assert await spill_all(deps) == 0
    assert (await state(deps.bus)).first_sequence == 1


async def test_days_of_replay_store_what_everybody_has(gateway, deps, shipping, directory, database, small_parts):
    sink = lagging(directory)
    sink.before = None
    async with shipping(deps, sink):
        await send_much(gateway, 2)
        await eventually(lambda: nothing_pending(deps))
    keeping = Keeping(0.0, days=7)
    await count_on(deps)

    await purge_once(deps, keeping)

    assert (await state(deps.bus)).first_sequence == 1  # nothing is stored yet, so nothing goes


async def test_a_stream_that_was_made_anew_loses_nothing_that_was_stored(
    gateway, deps, shipping, directory, small_parts, remake_streams
):
    sink = lagging(directory)
    async with shipping(deps, sink, replay_window=0.0):
        await send_much(gateway, 3)
        await eventually(lambda: all_received(deps, 192))
        await eventually(lambda: is_purged(deps))
        first = (await state(deps.bus)).first_sequence
    stored = (first - 1) * 4
    await remake_streams()
    sink.before = None
    async with shipping(deps, sink):
        await gateway.send(messages=2)
        await eventually(lambda: len(lines_in(directory)) >= stored + 6)

    assert set(lines_in(directory)) >= set(gateway.sent["result"][:stored] + gateway.sent["result"][-6:])
    assert len(lines_in(directory)) == len(set(lines_in(directory)))


async def test_one_that_buries_does_so_once_its_backlog_is_full(gateway, deps, shipping, directory):
    sink = lagging(directory, when_full="dead_letter")
    async with shipping(deps, sink):
        await send_much(gateway, 3)

        async def some_are_dead() -> bool:
            entry = (await balanced(deps))["slow", "result"]
            return entry.dead_lettered >= 96 and entry.received == 192

        await eventually(some_are_dead, 20)
        sink.before = None
        await eventually(lambda: nothing_waits(deps))
    entry = (await balanced(deps))["slow", "result"]
    assert entry.delivered == len(lines_in(directory))
    assert entry.delivered > 0


async def nothing_waits(deps) -> bool:
    return (await balanced(deps))["slow", "result"].pending == 0

"""Parts of the stream once more: for a destination that had them, and for a new one."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.log_destinations import PutDestinationV1
from flotilla_common.contracts.log_replays import ReplaysV1, ReplayV1, Span, StopReplayV1
from flotilla_common.db.models.log_shipper import Destination as Row
from flotilla_common.errors import Invalid, NotFound
from flotilla_common.testing import eventually
from log_shipper.domain.spilling import Keeping
from log_shipper.store.stream import state

from ..conftest import all_counted, balanced, crash, lines_in, to_file
from .test_spill import is_down, lagging, send_much, small_parts, spill_all  # noqa: F401 - a fixture


@pytest.fixture
async def admin(bus_for):
    return await bus_for("admin_api")


async def is_done(admin) -> bool:
    return all(replay.ended_at for replay in (await admin.request(ReplaysV1())).replays)


async def is_settled(deps, lines: int) -> bool:
    """Whether the books have so many lines at the file: only then they can be replayed."""
    return (await books(deps)).delivered == lines


async def books(deps, name="file"):
    return (await balanced(deps))[name, "result"]


async def test_a_part_is_sent_once_more_while_new_lines_come(gateway, deps, shipping, directory, admin):
    async with shipping(deps, to_file(directory)):
        await gateway.send(messages=10)
        await eventually(lambda: is_settled(deps, 30))
        made = (await admin.request(ReplayV1(destination="file", span=Span(from_sequence=3, to_sequence=5)))).replay
        await gateway.send(messages=2)
        await eventually(lambda: len(lines_in(directory)) == 45)
        await eventually(lambda: is_done(admin))
        [replay] = (await admin.request(ReplaysV1())).replays

    assert (made.first_sequence, made.last_sequence, replay.lines, replay.cursor_sequence) == (3, 5, 9, 5)
    sent = gateway.sent["result"]
    assert sorted(lines_in(directory)) == sorted(sent + sent[6:15])
    entry = await books(deps)
    assert (entry.received, entry.delivered, entry.duplicates, entry.pending) == (36, 36, 9, 0)


async def test_from_a_time_on(gateway, deps, shipping, directory, admin):
    async with shipping(deps, to_file(directory)):
        await gateway.send(messages=4)
        await eventually(lambda: len(lines_in(directory)) == 12)
        between = utc_now()
        await gateway.send(messages=2)
        await eventually(lambda: is_settled(deps, 18))
        answer = await admin.request(ReplayV1(destination="file", span=Span(from_time=between)))
        assert (answer.replay.first_sequence, answer.replay.last_sequence, answer.is_whole) == (5, 6, True)
        long_ago = Span(from_time=between - timedelta(days=9), to_time=between)
        answer = await admin.request(ReplayV1(destination="file", span=long_ago))
        assert (answer.replay.first_sequence, answer.replay.last_sequence, answer.is_whole) == (1, 4, False)
        await eventually(lambda: len(lines_in(directory)) == 36)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Span(), "beginning"),
        (Span(from_sequence=1, from_time=utc_now()), "beginning"),
        (Span(from_sequence=1, to_sequence=2, to_time=utc_now()), "one end"),
        (Span(from_sequence=99), "nothing of that"),
        (Span(from_sequence=2, to_sequence=1), "nothing of that"),
    ],
)
async def test_what_makes_no_sense_is_refused(gateway, deps, shipping, directory, admin, span, words):
    async with shipping(deps, to_file(directory)):
        await gateway.send(messages=2)
        await eventually(lambda: len(lines_in(directory)) == 6)
        with pytest.raises(Invalid, match=words):
            await admin.request(ReplayV1(destination="file", span=span))
        with pytest.raises(NotFound):
            await admin.request(ReplayV1(destination="moon", span=Span(from_sequence=1)))


async def test_a_crash_in_the_middle_sends_the_batch_again_and_goes_on(gateway, deps, shipping, directory, admin):
    sink = to_file(directory)
    async with shipping(deps, sink):
        await gateway.send(messages=6)
        await eventually(lambda: is_settled(deps, 18))
        live = len(sink.batches)
        sink.after = crash
        await admin.request(ReplayV1(destination="file", span=Span(from_sequence=1)))
        await eventually(lambda: len(sink.batches) > live + 1)
    async with shipping(deps, to_file(directory)):
        await eventually(lambda: is_done(admin))

    assert len(lines_in(directory)) == 36
    entry = await books(deps)
    assert (entry.delivered, entry.duplicates, entry.pending) == (18, 18, 0)


async def test_one_that_is_stopped_sends_no_more(gateway, deps, shipping, directory, admin):
    sink = to_file(directory)
    async with shipping(deps, sink):
        await gateway.send(messages=3)
        await eventually(lambda: is_settled(deps, 9))
        sink.before = is_down
        made = (await admin.request(ReplayV1(destination="file", span=Span(from_sequence=1)))).replay
        stopped = (await admin.request(StopReplayV1(id=made.id))).replay
        assert stopped.is_cancelled
        assert stopped.ended_at
        with pytest.raises(NotFound):
            await admin.request(StopReplayV1(id=99))
        sink.before = None
        await gateway.send()
        await eventually(lambda: len(lines_in(directory)) >= 12)


async def test_what_is_only_in_the_blob_store_comes_from_there(
    gateway,
    deps,
    shipping,
    directory,
    admin,
    database,
    small_parts,  # noqa: F811 - a fixture
):
    sink = lagging(directory)
    await send_much(gateway, 2)
    async with shipping(deps, sink):
        await eventually(lambda: all_counted(deps))
    await spill_all(deps)
    sink.before = None
    async with shipping(deps, sink, replay_days=1.0):
        await eventually(lambda: len(lines_in(directory)) == 128)
    assert (await state(deps.bus)).first_sequence > 3
    async with shipping(deps, sink, replay_days=1.0):
        answer = await admin.request(ReplayV1(destination="slow", span=Span(from_sequence=2, to_sequence=3)))
        assert answer.is_whole
        await eventually(lambda: is_done(admin))
        oldest = await admin.request(ReplaysV1())
    assert (oldest.oldest_sequence, oldest.oldest_time is not None) == (1, True)
    assert lines_in(directory) == gateway.sent["result"] + gateway.sent["result"][4:12]


async def test_a_new_destination_can_begin_where_the_logs_do(gateway, deps, shipping, directory, tmp_path, admin, s3):
    settings = {
        "endpoint": s3.endpoint, "bucket": s3.bucket, "region": s3.region, "access_key": s3.key,
        "secret_key": s3.secret,
    }  # fmt: skip
    keyed = dataclasses.replace(deps, secrets_key=b"k" * 32)
    async with shipping(keyed, to_file(directory)):
        await gateway.send(messages=6)
        await eventually(lambda: len(lines_in(directory)) == 18)
        await eventually(lambda: all_counted(deps))
        for name, begin in (("late", None), ("early", Span(from_sequence=3))):
            document = {"name": name, "kind": "s3", "settings": settings | {"prefix": name}, "batch": {"seconds": 0.1}}
            await admin.request(PutDestinationV1(document=json.dumps(document), is_new=True, begin=begin))
            await balanced(keyed)
        await gateway.send(messages=2)

        async def both_have_theirs() -> bool:
            early, late = await books(keyed, "early"), await books(keyed, "late")
            return (early.received, early.delivered, late.received, late.delivered) == (18, 18, 6, 6)

        await eventually(both_have_theirs)
        again = json.dumps({"name": "late", "kind": "s3", "settings": settings})
        request = PutDestinationV1(document=again, is_new=False, begin=Span(from_sequence=1))
        with pytest.raises(Invalid, match="only a new destination"):
            await admin.request(request)


async def test_nothing_is_thrown_away_that_a_replay_needs(gateway, deps, shipping, directory, admin, database):
    sink = to_file(directory)
    async with shipping(deps, sink):
        await gateway.send(messages=4)
        await eventually(lambda: len(lines_in(directory)) == 12)
        await eventually(lambda: all_counted(deps))
        sink.before = is_down
        await admin.request(ReplayV1(destination="file", span=Span(from_sequence=2)))
    await spill_all(deps, Keeping(0.0))

    assert (await state(deps.bus)).first_sequence == 2
    assert len(await database.rows(Row)) == 1

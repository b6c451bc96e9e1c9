"""The file destination: a retry replaces, a late writer is refused, files may be moved away."""

from datetime import UTC, datetime

import pytest
from flotilla_common.errors import LeaseLost
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Chunk
from log_shipper.sinks.file import FileSink

from ..conftest import lines_in

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)


def batch(number: int, *bodies: bytes, log_type: str = "result") -> Batch:
    chunks = [Chunk(number, log_type, body.count(b"\n"), body) for body in bodies]
    return Batch((1, number), number, number, NOW, chunks)


async def test_a_retry_replaces_what_an_earlier_try_left(directory):
    sink = FileSink(directory)
    await sink.deliver(batch(1, b"one\n"), await sink.plan(1, 1, NOW))
    target = await sink.plan(2, 2, NOW)
    await sink.deliver(batch(2, b"two\n", b"three\n"), target)
    with (directory / "result.log").open("ab") as file:
        file.write(b"half a li")

    await sink.deliver(batch(2, b"two\n", b"three\n"), target)

    assert (directory / "result.log").read_bytes() == b"one\ntwo\nthree\n"


async def test_each_log_type_has_its_file_and_its_offset(directory):
    sink = FileSink(directory)
    await sink.deliver(batch(1, b"one\n"), await sink.plan(1, 1, NOW))
    target = await sink.plan(2, 2, NOW)
    await sink.deliver(batch(2, b"status\n", log_type="status"), target)

    assert target == {"result": 4, "status": 0} | {"inodes": target["inodes"]}
    assert lines_in(directory, "status") == [b"status"]
    assert lines_in(directory) == [b"one"]


async def test_a_batch_recorded_while_a_log_type_was_filtered_keeps_that_type_s_lines(directory):
    await FileSink(directory).deliver(batch(1, b"old\n", log_type="status"), {"result": 0, "status": 0})
    target = await FileSink(directory).plan(2, 2, NOW)
    both = Batch((1, 2), 2, 2, NOW, [Chunk(2, "result", 1, b"one\n"), Chunk(2, "status", 1, b"new\n")])

    for _ in range(2):
        await FileSink(directory).deliver(both, target)

    assert lines_in(directory) == [b"one"]
    assert lines_in(directory, "status") == [b"old", b"new"]


async def test_a_file_whose_size_was_not_recorded_is_never_cut(directory):
    sink = FileSink(directory)
    await sink.deliver(batch(1, b"old\n", log_type="status"), await sink.plan(1, 1, NOW))

    await sink.deliver(batch(2, b"new\n", log_type="status"), {"result": 0})

    assert lines_in(directory, "status") == [b"old", b"new"]


async def test_a_worker_that_wakes_too_late_is_refused(directory):
    sink = FileSink(directory)
    stale = await sink.plan(1, 1, NOW)
    await sink.deliver(batch(1, b"one\n"), stale)
    await sink.deliver(batch(2, b"two\n"), await sink.plan(2, 2, NOW))

    with pytest.raises(LeaseLost):
        await sink.deliver(batch(1, b"one\n"), stale)

    assert lines_in(directory) == [b"one", b"two"]


async def test_one_that_another_destination_got_between_goes_on_when_the_files_are_moved_away(directory, tmp_path):
    """As docs/logs/file.md tells whoever gave two the same directory."""
    ours, others = FileSink(directory), FileSink(directory)
    await ours.deliver(batch(1, b"one\n"), await ours.plan(1, 1, NOW))
    target = await ours.plan(2, 2, NOW)
    later = Batch((2, 1), 1, 1, NOW, [Chunk(1, "result", 1, b"theirs\n")])
    await others.deliver(later, await others.plan(1, 1, NOW))
    with pytest.raises(LeaseLost, match="another destination with the same directory"):
        await ours.deliver(batch(2, b"two\n"), target)

    (tmp_path / "before").mkdir()
    for path in directory.iterdir():
        path.rename(tmp_path / "before" / path.name)
    await ours.deliver(batch(2, b"two\n"), target)

    assert lines_in(directory) == [b"two"]
    assert lines_in(tmp_path / "before") == [b"one", b"theirs"]


async def test_a_new_database_may_go_on_in_an_old_directory(directory):
    sink = FileSink(directory)
    await sink.deliver(batch(9, b"old\n"), await sink.plan(9, 9, NOW))
    fresh = Batch((2, 1), 1, 1, NOW, [Chunk(1, "result", 1, b"new\n")])

    await sink.deliver(fresh, await sink.plan(1, 1, NOW))

    assert lines_in(directory) == [b"old", b"new"]


async def test_a_file_that_was_moved_away_is_begun_anew(directory):
    sink = FileSink(directory)
    await sink.deliver(batch(1, b"one\n"), await sink.plan(1, 1, NOW))
    target = await sink.plan(2, 2, NOW)
    (directory / "result.log").rename(directory / "result.log.1")

    await sink.deliver(batch(2, b"two\n"), target)

    assert lines_in(directory) == [b"two"]


async def test_a_directory_that_cannot_be_written_is_an_outage(tmp_path):
    (tmp_path / "taken").write_text("a file")
    sink = FileSink(tmp_path / "taken" / "logs")

    with pytest.raises(DestinationDown):
        await sink.deliver(batch(1, b"one\n"), {"result": 0})

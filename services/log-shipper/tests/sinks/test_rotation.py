"""Rotation of the file destination: no line is lost or doubled, whatever step a crash comes at, whoever moves files."""

from __future__ import annotations

import gzip
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flotilla_common.errors import LeaseLost
from log_shipper.sinks import Batch, Chunk, Target
from log_shipper.sinks.file import KIND, FileSink
from log_shipper.sinks.file.rotation import Rotation, Tidying
from pydantic import ValidationError

NOW = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
SMALL = Rotation(size_bytes=8)
STEPS = ("open", "write", "ftruncate", "lseek", "fsync", "rename", "replace", "unlink", "pwrite", "fstat", "stat")
"""The system calls of a delivery, by their names in `os`, at each of which a process may die."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and nothing that the process does later happens."""


class Death:
    """Kills at this thread's n-th call of the system, before or after it has its effect."""

    def __init__(self, monkeypatch, at: int, *, after: bool) -> None:
        self.calls, self._at, self._after = 0, at, after
        self._thread = threading.get_ident()
        for name in STEPS:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call):
        def counted(*args, **kwargs):
            if threading.get_ident() != self._thread:
                return call(*args, **kwargs)
            self.calls += 1
            if self.calls != self._at:
                return call(*args, **kwargs)
            if self._after:
                if call.__name__ == "write":
                    args = (args[0], bytes(args[1])[: len(args[1]) // 2 + 1])
                call(*args, **kwargs)
            raise Killed

        return counted


def sink_for(directory: Path, rotation: Rotation = SMALL, now: datetime = NOW) -> FileSink:
    return FileSink(directory, rotation, clock=lambda: now)


def batch(number: int, *, log_types: tuple[str, ...] = ("result",)) -> Batch:
    chunks = [Chunk(number, log_type, 2, b"line %da\nline %db\n" % (number, number)) for log_type in log_types]
    return Batch((1, number), number, number, NOW, chunks)


async def deliver(sink: FileSink, *numbers: int, log_types: tuple[str, ...] = ("result",)) -> None:
    for number in numbers:
        await sink.deliver(batch(number, log_types=log_types), await sink.plan(number, number, NOW))
        await sink.tidied()


async def retry(sink: FileSink, number: int, target: Target) -> None:
    """Deliver as was planned, and wait for what is done beside it, so that no thread of it still runs when we look."""
    await sink.deliver(batch(number), target)
    await sink.tidied()


def away(directory: Path, log_type: str = "result") -> list[Path]:
    """Files that were put away, the oldest first."""
    return sorted(directory.glob(f"{log_type}-*"))


def all_lines(directory: Path, log_type: str = "result") -> bytes:
    """What stands in all files of a type, the oldest first."""
    parts = [
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in [*away(directory, log_type), directory / f"{log_type}.log"]
        if path.exists()
    ]
    return b"".join(parts)


def lines_of(*numbers: int) -> bytes:
    return b"".join(b"line %da\nline %db\n" % (number, number) for number in numbers)


async def test_a_file_that_is_large_is_put_away_before_the_next_batch(directory):
    sink = sink_for(directory)
    await deliver(sink, 1, 2)

    assert [path.name for path in away(directory)] == ["result-20261124T233000Z-00000000000000000002.log"]
    assert away(directory)[0].read_bytes() == lines_of(1)
    assert (directory / "result.log").read_bytes() == lines_of(2)


async def test_a_small_file_stays(directory):
    sink = sink_for(directory, Rotation(size_bytes=1000))

    await deliver(sink, 1, 2)

    assert away(directory) == []


async def test_each_log_type_is_put_away_for_itself(directory):
    sink = sink_for(directory)
    await deliver(sink, 1)

    await deliver(sink, 2, log_types=("status",))
    await deliver(sink, 3, log_types=("result", "status"))

    assert (len(away(directory)), len(away(directory, "status"))) == (1, 1)
    assert all_lines(directory) == lines_of(1, 3)
    assert all_lines(directory, "status") == lines_of(2, 3)


async def test_a_file_of_an_earlier_day_is_put_away(directory):
    daily = Rotation(seconds=86_400)
    await deliver(sink_for(directory, daily), 1, 2)
    assert away(directory) == []

    await deliver(sink_for(directory, daily, NOW + timedelta(hours=1)), 3, 4)

    assert [path.read_bytes() for path in away(directory)] == [lines_of(1, 2)]
    assert (directory / "result.log").read_bytes() == lines_of(3, 4)


async def test_a_file_from_before_rotation_was_wanted_is_put_away_in_time(directory):
    await deliver(sink_for(directory, Rotation()), 1)
    (directory / ".places").unlink()
    daily = Rotation(seconds=86_400)

    await deliver(sink_for(directory, daily), 2)
    await deliver(sink_for(directory, daily, NOW + timedelta(hours=1)), 3)

    assert [path.read_bytes() for path in away(directory)] == [lines_of(1, 2)]


async def test_files_that_were_put_away_are_compressed(directory):
    await deliver(sink_for(directory, Rotation(size_bytes=8, gzip=True)), 1, 2, 3)

    assert [path.suffix for path in away(directory)] == [".gz", ".gz"]
    assert all_lines(directory) == lines_of(1, 2, 3)
    assert all(path.stat().st_mode & 0o777 == 0o640 for path in away(directory))


async def test_so_many_are_kept_and_no_others_are_touched(directory):
    directory.mkdir()
    names = ["result-old.log", "result-20200101T000000Z-1.log", "audit-20200101T000000Z-00000000000000000001.log"]
    strangers = {directory / name for name in names}
    for path in strangers:
        path.write_text("not ours")
    link = directory / "result-20200101T000000Z-00000000000000000001.log"
    link.symlink_to(directory / "result-old.log")

    await deliver(sink_for(directory, Rotation(size_bytes=8, keep_files=2)), 1, 2, 3, 4, 5)

    kept = set(away(directory)) - strangers - {link}
    assert sorted(path.read_bytes() for path in kept) == [lines_of(3), lines_of(4)]
    assert all(path.exists() for path in [*strangers, link])


async def test_what_is_old_is_removed(directory):
    wanted = Rotation(size_bytes=8, keep_days=28, gzip=True)
    await deliver(sink_for(directory, wanted), 1, 2)
    await deliver(sink_for(directory, wanted, NOW + timedelta(days=20)), 3)

    await deliver(sink_for(directory, wanted, NOW + timedelta(days=29)), 4)

    assert all_lines(directory) == lines_of(2, 3, 4)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_at_any_step_of_a_rotation_leaves_every_line_once(tmp_path, monkeypatch, after):
    at = steps = 0
    while at <= steps:
        at += 1
        directory = tmp_path / str(at)
        await deliver(sink_for(directory), 1, 2)
        target = await sink_for(directory).plan(3, 3, NOW)
        assert target["away"]
        with monkeypatch.context() as patch:
            death = Death(patch, at, after=after)
            try:
                sink_for(directory)._write(batch(3), target)
            except Killed:
                steps = death.calls

        for _ in range(2):  # the second: it died again, before the batch was settled
            await retry(sink_for(directory), 3, target)

        assert all_lines(directory) == lines_of(1, 2, 3), f"died at step {at}"
        assert len(away(directory)) == 2
    assert steps > 12


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_at_any_step_after_which_others_take_the_file_leaves_every_line_once(
    tmp_path, monkeypatch, after
):
    """Whoever fetches files that were put away may do so at once."""
    at = steps = 0
    while at <= steps:
        at += 1
        directory, fetched = tmp_path / str(at), b""
        await deliver(sink_for(directory), 1)
        target = await sink_for(directory).plan(2, 2, NOW)
        with monkeypatch.context() as patch:
            death = Death(patch, at, after=after)
            try:
                sink_for(directory)._write(batch(2), target)
            except Killed:
                steps = death.calls
        for path in away(directory):
            fetched += path.read_bytes()
            path.unlink()

        await retry(sink_for(directory), 2, target)

        assert fetched + all_lines(directory) == lines_of(1, 2), f"died at step {at}"
    assert steps > 12


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_at_any_step_of_compressing_leaves_every_line_once(tmp_path, monkeypatch, after):
    at = steps = 0
    wanted = Rotation(size_bytes=8, gzip=True)
    while at <= steps:
        at += 1
        directory = tmp_path / str(at)
        await deliver(sink_for(directory), 1, 2, 3)
        with monkeypatch.context() as patch:
            death = Death(patch, at, after=after)
            try:
                Tidying(directory, wanted).run(NOW)
            except Killed:
                steps = death.calls

        Tidying(directory, wanted).run(NOW)

        assert all_lines(directory) == lines_of(1, 2, 3), f"died at step {at}"
        assert [path.suffix for path in away(directory)] == [".gz", ".gz"]
    assert steps > 12


async def test_only_one_process_tidies(directory):
    wanted = Rotation(size_bytes=8, gzip=True)
    await deliver(sink_for(directory), 1, 2)
    import fcntl  # noqa: PLC0415

    with (directory / ".tidying").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        Tidying(directory, wanted).run(NOW)
        assert [path.suffix for path in away(directory)] == [".log"]

    Tidying(directory, wanted).run(NOW)

    assert [path.suffix for path in away(directory)] == [".gz"]


async def test_a_worker_that_wakes_too_late_rotates_nothing(directory):
    await deliver(sink_for(directory), 1)
    late = await sink_for(directory).plan(2, 2, NOW)
    await sink_for(directory).deliver(batch(2), late)
    await deliver(sink_for(directory), 3)
    before = away(directory)

    with pytest.raises(LeaseLost):
        await sink_for(directory).deliver(batch(2), late)

    assert away(directory) == before
    assert all_lines(directory) == lines_of(1, 2, 3)


async def test_a_file_that_others_move_between_record_and_try_is_not_put_away_twice(directory):
    await deliver(sink_for(directory), 1)
    target = await sink_for(directory).plan(2, 2, NOW)
    (directory / "result.log").rename(directory / "result.log.1")

    for _ in range(2):
        await sink_for(directory).deliver(batch(2), target)

    assert away(directory) == []
    assert (directory / "result.log").read_bytes() == lines_of(2)


async def test_a_batch_that_began_a_new_file_begins_there_again(directory):
    """The file is moved away by others, is begun anew, and grows beyond the recorded size before the try fails."""
    sink = sink_for(directory, Rotation())
    await deliver(sink, 1)
    target = await sink.plan(2, 2, NOW)
    (directory / "result.log").rename(directory / "result.log.1")
    long = Batch((1, 2), 2, 2, NOW, [Chunk(2, "result", 3, lines_of(2) + b"line 2c\n")])

    for _ in range(2):
        await sink_for(directory, Rotation()).deliver(long, target)

    assert (directory / "result.log").read_bytes() == lines_of(2) + b"line 2c\n"


async def test_a_file_that_others_copy_and_cut_is_begun_anew(directory):
    sink = sink_for(directory, Rotation())
    await deliver(sink, 1)
    target = await sink.plan(2, 2, NOW)
    os.truncate(directory / "result.log", 0)

    for _ in range(2):
        await sink_for(directory, Rotation()).deliver(batch(2), target)

    assert (directory / "result.log").read_bytes() == lines_of(2)


async def test_what_an_earlier_release_recorded_is_retried_as_it_was(directory):
    sink = sink_for(directory)
    await deliver(sink, 1)

    for _ in range(2):
        await sink.deliver(batch(2), {"result": len(lines_of(1)), "status": 0})

    assert all_lines(directory) == lines_of(1, 2)


def test_files_are_kept_as_long_as_those_of_fleet_when_nothing_else_is_said(tmp_path):
    settings = KIND.settings(directory=tmp_path, rotate_bytes=500_000_000)

    assert (settings.keep_files, settings.keep_days, settings.gzip) == (3, 28, False)


@pytest.mark.parametrize("wrong", [{"rotate_bytes": 5}, {"rotate_seconds": 1}, {"keep_files": -1}, {"keep_days": -1}])
def test_settings_that_make_no_sense_are_refused(tmp_path, wrong):
    with pytest.raises(ValidationError):
        KIND.settings(directory=tmp_path, **wrong)

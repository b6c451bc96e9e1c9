"""The stdout destination: on real pipes, and in the real process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
from collections import Counter

import pytest
from flotilla_common.testing import eventually
from log_shipper.errors import DestinationDown
from log_shipper.sinks.stdout import Output, StdoutSink

from ..conftest import WatchedSink, balanced, crash
from .batches import batch_of, chunk_of, numbered


class Pipe:
    """A pipe whose reader reads when it is told to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.received = bytearray()

    def read(self) -> bytes:
        """Read what is there; return all that ever was."""
        with contextlib.suppress(BlockingIOError):
            while some := os.read(self.reader, 65536):
                self.received += some
        return bytes(self.received)

    def fill(self) -> int:
        """Fill the pipe up; return with how many bytes."""
        os.set_blocking(self.writer, False)
        size = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                size += os.write(self.writer, b"." * 4096)
        os.set_blocking(self.writer, True)
        return size

    def leave(self) -> None:
        """The reader goes."""
        os.close(self.reader)
        self.reader = -1

    def close(self) -> None:
        """Close both ends."""
        for descriptor in (self.reader, self.writer):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def pipe():
    found = Pipe()
    yield found
    found.close()


async def test_a_line_goes_out_as_it_came_whatever_its_bytes_and_size(pipe):
    lines = [b"\xff\xfe not UTF-8", b"\x00\x00", b"", b'{"pad":"' + b"x" * 5_000_000 + b'"}', b"last"]
    batch = batch_of(chunk_of(lines), chunk_of(numbered(0, 2000), 8, log_type="status"))
    delivering = asyncio.create_task(StdoutSink(Output(pipe.writer)).deliver(batch, {}))

    await eventually(lambda: (pipe.read(), delivering.done())[1])

    await delivering
    assert pipe.read().split(b"\n")[:-1] == lines + numbered(0, 2000)
    assert not list(batch.missing())


@pytest.mark.parametrize("is_blocking", [True, False])
async def test_a_slow_reader_holds_the_delivery_and_not_the_event_loop(pipe, is_blocking):
    os.set_blocking(pipe.writer, is_blocking)
    lines = [b"x" * 1000] * 500
    batch = batch_of(chunk_of(lines))
    delivering = asyncio.create_task(StdoutSink(Output(pipe.writer)).deliver(batch, {}))

    await asyncio.wait([delivering], timeout=0.5)
    assert not delivering.done()
    await eventually(lambda: (pipe.read(), delivering.done())[1])

    assert pipe.read().split(b"\n")[:-1] == lines


async def test_a_reader_that_takes_nothing_is_an_outage_and_a_torn_line_comes_again_whole(pipe):
    size = fcntl.fcntl(pipe.writer, fcntl.F_GETPIPE_SZ)
    sink = StdoutSink(Output(pipe.writer, stalled_seconds=0.3))
    lines = [b"a" * 1000, b"b" * (size + 8192), b"c"]
    batch = batch_of(chunk_of(lines))

    with pytest.raises(DestinationDown, match=r"its reader took nothing for 0\.3 s"):
        await sink.deliver(batch, {})
    assert [line.raw for line in batch.missing()] == lines[1:]
    delivering = asyncio.create_task(sink.deliver(batch, {}))
    await eventually(lambda: (pipe.read(), delivering.done())[1])

    await delivering
    [first, piece, whole, last] = pipe.read().split(b"\n")[:-1]
    assert (first, whole, last) == tuple(lines)
    assert lines[1].startswith(piece)
    assert {index for _, index in batch.progress.repeated} == {1}


async def test_a_reader_that_has_gone_is_an_outage(pipe):
    pipe.leave()
    batch = batch_of(chunk_of(numbered(0, 4)))

    with pytest.raises(DestinationDown, match="its reader has gone"):
        await StdoutSink(Output(pipe.writer)).deliver(batch, {})

    assert len(list(batch.missing())) == 5


async def test_a_closed_output_is_an_outage():
    with pytest.raises(DestinationDown, match="it is closed"):
        await StdoutSink(Output(-1)).deliver(batch_of(chunk_of([b"x"])), {})


async def test_a_cancelled_delivery_ends_soon_and_knows_what_went_out(pipe):
    pipe.fill()
    sink = StdoutSink(Output(pipe.writer))
    batch = batch_of(chunk_of([b"a" * 1000] * 20))
    delivering = asyncio.create_task(sink.deliver(batch, {}))
    await asyncio.wait([delivering], timeout=0.2)

    delivering.cancel()
    await asyncio.wait([delivering], timeout=1.0)

    assert delivering.cancelled()
    assert len(list(batch.missing())) == 20
    pipe.read()
    pipe.received.clear()
    await sink.deliver(batch, {})
    assert pipe.read() == (b"a" * 1000 + b"\n") * 20
    assert not batch.progress.repeated


async def test_lines_of_two_destinations_are_not_mixed(pipe):
    output = Output(pipe.writer)
    one, other = (batch_of(chunk_of([letter * 50_000] * 20)) for letter in (b"a", b"b"))
    delivering = asyncio.gather(StdoutSink(output).deliver(one, {}), StdoutSink(output).deliver(other, {}))

    await eventually(lambda: (pipe.read(), delivering.done())[1])

    assert Counter(pipe.read().split(b"\n")[:-1]) == {b"a" * 50_000: 20, b"b" * 50_000: 20}


async def test_short_lines_are_not_torn_by_another_writer_of_the_pipe(pipe):
    batch = batch_of(chunk_of([b'{"pad":"' + b"x" * 700 + b'"}'] * 2000))
    delivering = asyncio.create_task(StdoutSink(Output(pipe.writer)).deliver(batch, {}))

    def read_and_disturb() -> bool:
        os.write(pipe.writer, b"## own log line\n")
        pipe.read()
        return delivering.done()

    await eventually(read_and_disturb)

    kinds = Counter(line[:2] for line in pipe.read().split(b"\n")[:-1])
    assert kinds.keys() == {b'{"', b"##"}
    assert kinds[b'{"'] == 2000


async def test_a_try_writes_the_line(pipe):
    assert await StdoutSink(Output(pipe.writer)).try_out(b"x") == "standard output"
    assert pipe.read() == b"x\n"


async def settled(deps, delivered: int) -> bool:
    entry = (await balanced(deps))["stdout", "result"]
    return (entry.delivered, entry.pending) == (delivered, 0)


async def test_after_an_outage_and_a_death_all_is_there_and_the_books_say_what_may_be_twice(
    gateway, deps, shipping, pipe
):
    sink = WatchedSink(StdoutSink(Output(pipe.writer, stalled_seconds=0.3)), name="stdout")
    async with shipping(deps, sink):
        await gateway.send("result", 10)
        await eventually(lambda: settled(deps, 10))
        pipe.read()
        pipe.fill()
        await gateway.send("result", 10)
        await eventually(lambda: sink.failures)
        pipe.received.clear()
        pipe.read()
        filling = pipe.received.count(b".")
        await eventually(lambda: settled(deps, 20))
        sink.after = crash
        await gateway.send("result", 10)
        await eventually(lambda: len(sink.batches) >= 3)

    heir = WatchedSink(StdoutSink(Output(pipe.writer)), name="stdout")
    async with shipping(deps, heir):
        await eventually(lambda: settled(deps, 30))
        entry = (await balanced(deps))["stdout", "result"]

    found = Counter(pipe.read().lstrip(b".").split(b"\n")[:-1])
    assert filling
    assert set(found) == set(gateway.sent["result"][10:])
    assert sum(found.values()) - len(found) == entry.duplicates == 10


async def test_the_real_process_writes_lines_to_stdout_and_its_own_logs_to_stderr(
    gateway, deps, service_environment, directory
):
    environment = {**os.environ, **service_environment("log_shipper"), "FLOTILLA_DESTINATIONS": "stdout"}
    await gateway.send("result", 100, messages=3)
    await gateway.send("status", 10)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "log_shipper", env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        lines = [await asyncio.wait_for(process.stdout.readline(), 30) for _ in range(310)]
        await eventually(lambda: settled(deps, 300))
    finally:
        process.terminate()
        rest, own = await process.communicate()

    assert [line.rstrip(b"\n") for line in lines[:300]] == gateway.sent["result"]
    assert [line.rstrip(b"\n") for line in lines[300:]] == gateway.sent["status"]
    assert rest == b""
    assert "started" in [json.loads(line)["event"] for line in own.splitlines()]
    assert process.returncode == 0

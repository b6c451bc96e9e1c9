"""The process's standard output: one line per log line, as the host sent it. Only whoever runs log-shipper declares it.

From then on all else that this process writes there goes to standard error, so that no line is torn or mixed with ours.
"Delivered" means that the pipe took a line; what becomes of it behind the pipe nobody tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Sequence

import structlog
from pydantic import BaseModel, ConfigDict

from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Kind, Limits, Line, Progress, Refusal, Target

log = structlog.get_logger()

MIB = 1024 * 1024
PIECE_BYTES = (
    4096  # PIPE_BUF: a write of so many bytes is one piece for all who write to the pipe, and fits when poll says
)
TAKE_BYTES = 256 * 1024  # that go to the thread at once
LOOK_SECONDS = 0.1  # how soon the thread hears that it is to stop
STALLED_SECONDS = 30.0  # a reader that takes nothing for so long is as good as gone
STDOUT, STDERR = 1, 2


class Settings(BaseModel):
    """A stdout destination has no settings of its own."""

    model_config = ConfigDict(extra="forbid")


class Output:
    """A descriptor that lines are written to, one writer at a time, never on the event loop.

    The descriptor may block, and other processes may share it: it is not made non-blocking, which would be so for them
    too. It is written to when poll says that a piece fits.
    """

    def __init__(self, descriptor: int, *, stalled_seconds: float = STALLED_SECONDS) -> None:
        self._descriptor = descriptor
        self._stalled_seconds = stalled_seconds
        self._turn = asyncio.Lock()
        self._ends_in_line = False

    async def write(self, lines: Sequence[Line], progress: Progress) -> None:
        """Write whole lines and note what became of each. Raises DestinationDown."""
        async with self._turn:
            head = b"\n" if self._ends_in_line else b""  # a piece of a line stays; the line itself comes again, whole
            body = head + b"".join(line.raw + b"\n" for line in lines)
            writing = _Writing(self._descriptor, body, self._stalled_seconds)
            thread = asyncio.create_task(asyncio.to_thread(writing.run))
            try:
                await asyncio.shield(thread)
            except asyncio.CancelledError:
                writing.stop.set()
                await asyncio.wait([thread])
                if (error := thread.exception()) is not None:
                    log.info("writing to standard output was stopped", error=repr(error))
                raise
            except OSError as error:
                raise DestinationDown(f"standard output: {_words(error)}") from error
            finally:
                self._note(lines, len(head), writing.written, progress)

    def _note(self, lines: Sequence[Line], begin: int, written: int, progress: Progress) -> None:
        """Note which lines went out: a line that went in part is doubtful, what comes after it was not sent."""
        end = begin
        done = 0
        for line in lines:
            if end + len(line.raw) + 1 > written:
                break
            end += len(line.raw) + 1
            done += 1
        progress.accept(lines[:done])
        is_torn = written > end
        progress.doubt(lines[done : done + 1] if is_torn else ())
        if written:
            self._ends_in_line = is_torn


class _Writing:
    """One write of many bytes, in a thread, that can be stopped between pieces."""

    def __init__(self, descriptor: int, body: bytes, stalled_seconds: float) -> None:
        self.stop = threading.Event()
        self.written = 0
        self._descriptor = descriptor
        self._body = body
        self._stalled_seconds = stalled_seconds

    def run(self) -> None:
        """Write until all is out, or `stop` is set. Raises OSError; `written` is right in any case."""
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "it is closed")
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        deadline = time.monotonic() + self._stalled_seconds
        while self.written < len(self._body) and not self.stop.is_set():
            if poll.poll(LOOK_SECONDS * 1000):
                with contextlib.suppress(BlockingIOError):  # somebody made it non-blocking, and another filled it
                    self.written += os.write(self._descriptor, self._piece())
                    deadline = time.monotonic() + self._stalled_seconds
                    continue
                self.stop.wait(LOOK_SECONDS)
            if time.monotonic() > deadline:
                raise TimeoutError(f"its reader took nothing for {self._stalled_seconds:g} s")

    def _piece(self) -> memoryview:
        """Return whole lines as far as they fit in a piece; of a longer line, a part."""
        begin, end = self.written, min(self.written + PIECE_BYTES, len(self._body))
        last = self._body.rfind(b"\n", begin, end)
        return memoryview(self._body)[begin : end if last < 0 else last + 1]


class StdoutSink:
    """Writes lines to an output."""

    replaces = False

    def __init__(self, output: Output) -> None:
        self.limits = Limits(batch_bytes=MIB, batch_lines=10_000, batch_seconds=0.05)
        self._output = output

    async def plan(self, first_sequence: int, last_sequence: int, started_at: object) -> Target:
        """There is nothing to decide."""
        del first_sequence, last_sequence, started_at
        return {}

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Write what is missing."""
        del target
        await self._write(batch.missing(), batch.progress)
        return []

    async def try_out(self, line: bytes) -> str:
        """Write this line among the others."""
        await self._write([Line(0, 0, "test", 0, 0, 0, line)], Progress())
        return "standard output"

    async def _write(self, lines: Iterable[Line], progress: Progress) -> None:
        some: list[Line] = []
        size = 0
        for line in lines:
            some.append(line)
            size += len(line.raw)
            if size >= TAKE_BYTES:
                await self._output.write(some, progress)
                some, size = [], 0
        if some:
            await self._output.write(some, progress)

    async def close(self) -> None:
        """The output stays: it is the process's."""


class _Process:
    """Standard output of this process, once it is taken."""

    output: Output | None = None


def claim() -> None:
    """Take standard output: whatever else this process writes there goes to standard error from now on."""
    if _Process.output is not None or sys.__stdout__ is None:
        return
    sys.__stdout__.flush()
    own = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    _Process.output = Output(own)


def create(settings: Settings) -> StdoutSink:
    """Make the sink; all share the one output."""
    del settings
    claim()
    return StdoutSink(_Process.output or Output(-1))


def _words(error: OSError) -> str:
    if isinstance(error, BrokenPipeError):
        return "its reader has gone"
    return error.strerror or str(error)


KIND = Kind(Settings, create, is_local=True, claim=claim)

"""Keep one part alive: start, watch, restart with back-off, and obey `ctl`.

`asyncio.timeout` and never `wait_for`: that one may swallow a cancellation in Python 3.11 (cpython issue 86296).
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from flotilla_stack.output import Console, LogFile
from flotilla_stack.part import STOP_SECONDS, Part

PROBE_PAUSE_SECONDS = 0.1
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_SECONDS = 60
"""A part that ran this long is healthy again: its next crash counts as its first."""
CHUNK_BYTES = 65536
DRAIN_SECONDS = 2.0
PATIENT_SECONDS = 10.0
MAX_FIRST_CRASHES = 4
"""So often a part may crash before it was ever ready; then the whole start fails."""


class PartFailedError(Exception):
    """A step ended with an error, or a part cannot be prepared; the message has the end of its log."""


class Guard(Protocol):
    """Who kills a process group if we do not live to do it."""

    def add(self, group: int) -> None:
        """Remember a group."""

    def discard(self, group: int) -> None:
        """Forget it."""


@dataclass(frozen=True)
class Surroundings:
    """What a keeper needs from its supervisor."""

    console: Console
    guard: Guard
    wait_for: Callable[[str], Awaitable[None]]
    changed: Callable[[], None]


class Keeper:
    """The life of one part. `state` is waiting, starting, ready, finished, crashed, stopped, killed or paused."""

    def __init__(self, part: Part, log: LogFile, around: Surroundings) -> None:
        self.part = part
        self.log = log
        self.around = around
        self.state = "waiting"
        self.restarts = 0
        self.is_ready = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._told = asyncio.Event()  # that `ctl` wants something else: ends the wait for the next start
        self._down = asyncio.Event()
        self._down.set()
        self._process: asyncio.subprocess.Process | None = None
        self._crashes = 0
        self._was_ready = False

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Live until cancelled; a step returns when it is done.

        Raises:
            PartFailedError: a step failed, or the part crashed at every start without ever having been ready.

        """
        for needed in self.part.needs:
            await self.around.wait_for(needed)
        try:
            while True:
                await self._wanted.wait()
                started = time.monotonic()
                status = await self._live_once()
                if self.part.once and status == 0:
                    self._become("finished")
                    self.is_ready.set()
                    return
                if self._wanted.is_set():
                    await self._back_off(status, time.monotonic() - started)
        finally:
            await self.end(STOP_SECONDS[self.part.layer])

    async def stop(self, seconds: float = PATIENT_SECONDS) -> None:
        """Stop the process and leave it stopped until `start()`; kill it if it takes longer than `seconds`."""
        self._forbid("stopped")
        await self.end(seconds)
        await self._down.wait()

    async def kill(self) -> None:
        """Kill the process and all its children (SIGKILL), and leave it dead until `start()`."""
        self._forbid("killed")
        self._signal_group(signal.SIGKILL)
        await self._down.wait()

    async def start(self) -> None:
        """Let it run again and wait until it is ready."""
        self._crashes = 0
        self._wanted.set()
        self._told.set()
        await self.is_ready.wait()

    def pause(self) -> None:
        """Freeze the process and its children (SIGSTOP)."""
        self._signal_group(signal.SIGSTOP)
        self._become("paused")

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal_group(signal.SIGCONT)
        self._become("ready" if self.is_ready.is_set() else "starting")

    async def end(self, seconds: float) -> None:
        """Ask the process to stop, wait at most `seconds`, then kill what is left of its group."""
        process = self._process
        if process is None:
            return
        self._signal_group(signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.part.stop_signal)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
        self._signal_group(signal.SIGKILL)
        await process.wait()
        self._gone(process)

    async def _live_once(self) -> int:
        """Start the process and return its exit status when it ended."""
        self._become("starting")
        if self.part.prepare is not None:
            await asyncio.to_thread(self.part.prepare)
        process = await asyncio.create_subprocess_exec(
            *self.part.launch_command(),
            env=dict(self.part.environment()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._process = process
        self._down.clear()
        self.around.guard.add(process.pid)
        self.around.changed()
        if not self._wanted.is_set():
            self._signal_group(signal.SIGKILL)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(process))
            watching = tasks.create_task(self._watch(process))
            status = await process.wait()
            self._signal_group(signal.SIGKILL)  # children that outlived it would keep its port
            watching.cancel()
            await asyncio.wait({reading}, timeout=DRAIN_SECONDS)
            reading.cancel()  # a grandchild in a session of its own may hold the pipe for ever
        self._gone(process)
        return status

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Set `is_ready` once the part answers."""
        if self.part.once:
            return
        while not await asyncio.to_thread(self._answers):
            # The end of the process is what ends the pause early; then this task is cancelled.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_PAUSE_SECONDS):
                    await process.wait()
        if self.state == "starting":
            self._become("ready")
        self._was_ready = True
        self.is_ready.set()

    def _answers(self) -> bool:
        """Probe the part and, if it answers, do what is to be done then; a failure there is one more try later."""
        if self.part.is_ready is not None and not self.part.is_ready():
            return False
        try:
            if self.part.finish is not None:
                self.part.finish()
        except (OSError, subprocess.SubprocessError) as error:
            self.log.write(f"stack: {error}: {getattr(error, 'stderr', '')}".encode())
            return False
        return True

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Copy the output line by line until every holder of the pipe is gone."""
        assert process.stdout is not None  # noqa: S101 - we asked for a pipe
        rest = b""
        while chunk := await process.stdout.read(CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._write(line)
        if rest:
            self._write(rest)

    def _write(self, line: bytes) -> None:
        self.log.write(line)
        self.around.console.line(self.part.name, line.decode(errors="replace"), is_quiet=self.part.is_quiet)

    async def _back_off(self, status: int, seconds: float) -> None:
        """Say that it crashed, and wait before the next start; `ctl start` and `ctl stop` end the wait."""
        self._crashes = 1 if seconds > STEADY_SECONDS else self._crashes + 1
        reason = f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
        if self.part.once or (not self._was_ready and self._crashes >= MAX_FIRST_CRASHES):
            raise PartFailedError(f"{self.part.name} {reason}; the end of {self.log.path}:\n{self.log.tail()}")
        pause = BACKOFF_SECONDS[min(self._crashes, len(BACKOFF_SECONDS)) - 1]
        self._become("crashed")
        self.restarts += 1
        self._told.clear()
        self.around.console.say(f"{self.part.name} {reason}; starting it again in {pause:g} s (log: {self.log.path})")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._told.wait()

    def _forbid(self, state: str) -> None:
        self._wanted.clear()
        self._told.set()
        self._become(state)

    def _become(self, state: str) -> None:
        self.state = state
        self.around.changed()

    def _gone(self, process: asyncio.subprocess.Process) -> None:
        if self._process is process:
            self._process = None
            self.is_ready.clear()
            self.around.guard.discard(process.pid)
            self._down.set()
            self.around.changed()

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

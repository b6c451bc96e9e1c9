"""Run all parts in one asyncio loop: in order, until told to stop, and leave no process behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from flotilla_stack import guard as guard_script
from flotilla_stack.keeper import Keeper, Surroundings
from flotilla_stack.output import Console, LogFile
from flotilla_stack.part import STOP_SECONDS, Layer, Part

PROGRESS_SECONDS = 2.0
READY_SECONDS = 120.0


class NotReadyError(Exception):
    """The stack did not become ready; the message says which parts and why."""


class GuardProcess:
    """The process that kills our groups if we are killed; see guard.py."""

    def __init__(self) -> None:
        script = str(Path(guard_script.__file__).absolute())
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script], stdin=subprocess.PIPE, start_new_session=True
        )

    def add(self, group: int) -> None:
        """Remember a process group that was started."""
        self._tell(f"+{group}\n")

    def discard(self, group: int) -> None:
        """Forget one that is gone."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the guard, which finds nothing to kill after a clean stop."""
        assert self._process.stdin is not None  # noqa: S101 - we asked for a pipe
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - we asked for a pipe
        with contextlib.suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), line.encode())


class Supervisor:
    """The keepers of all parts, by name."""

    def __init__(self, console: Console, logs: Path) -> None:
        self.console = console
        self.logs = logs
        self.keepers: dict[str, Keeper] = {}
        self.on_change: Callable[[], None] = lambda: None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._guard = GuardProcess()

    def add(self, parts: Iterable[Part]) -> None:
        """Start parts as soon as what they need is ready."""
        added = list(parts)
        around = Surroundings(self.console, self._guard, self.wait_for, self._changed)
        for part in added:
            self.keepers[part.name] = Keeper(part, LogFile(self.logs / f"{part.name}.log"), around)
        for part in added:
            self._tasks[part.name] = asyncio.create_task(self.keepers[part.name].run(), name=part.name)

    async def wait_for(self, name: str) -> None:
        """Wait until a part is ready, or a step is done."""
        await self.keepers[name].is_ready.wait()

    async def all_ready(self, *, seconds: float = READY_SECONDS) -> None:
        """Wait until every part is ready; say every 2 s which are not.

        Raises:
            NotReadyError: a step failed, a part could not be prepared, or time is up.

        """
        waits = {asyncio.create_task(self.wait_for(name)): name for name in self.keepers}
        try:
            async with asyncio.timeout(seconds):
                await self._until_ready(waits)
        except TimeoutError as error:
            raise NotReadyError(self._reason()) from error
        finally:
            for wait in waits:
                wait.cancel()

    async def stop_all(self) -> None:
        """Stop the layers in reverse order, each within its time, and wait until every process is gone."""
        self.console.hush()
        for layer in sorted(Layer, reverse=True):
            names = [name for name, keeper in self.keepers.items() if keeper.part.layer is layer]
            await asyncio.gather(*(self.keepers[name].stop(STOP_SECONDS[layer]) for name in names))
            for name in names:
                self._tasks[name].cancel()
            await asyncio.gather(*(self._tasks[name] for name in names), return_exceptions=True)
            for name in names:
                self.keepers[name].log.close()
        self._guard.close()

    async def failed(self) -> BaseException:
        """Wait until a keeper gives up, and return why."""
        while (failure := self.failure()) is None:
            await asyncio.wait(self._running(), return_when=asyncio.FIRST_COMPLETED)
        return failure

    def failure(self) -> BaseException | None:
        """Return what ended a keeper before its time, if anything did."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and task.exception() is not None:
                error = task.exception()
                return error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
        return None

    async def _until_ready(self, waits: dict[asyncio.Task[None], str]) -> None:
        pending = set(waits)
        clock = asyncio.get_running_loop().time
        last_said = clock()
        while pending:
            _, pending = await asyncio.wait(
                {*pending, *self._running()}, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            pending &= set(waits)
            if failure := self.failure():
                raise NotReadyError(str(failure)) from failure
            if pending and clock() - last_said >= PROGRESS_SECONDS:
                last_said = clock()
                names = sorted(waits[wait] for wait in pending)
                self.console.say(f"  ... waiting for {', '.join(names)}")

    def _changed(self) -> None:
        self.on_change()

    def _running(self) -> set[asyncio.Task[None]]:
        return {task for task in self._tasks.values() if not task.done()}

    def _reason(self) -> str:
        late = [keeper for keeper in self.keepers.values() if not keeper.is_ready.is_set()]
        return "\n".join(
            f"{keeper.part.name} is {keeper.state}, not ready; the end of {keeper.log.path}:\n{keeper.log.tail()}"
            for keeper in late
            if keeper.state != "waiting"
        )


@contextlib.asynccontextmanager
async def supervised(console: Console, logs: Path) -> AsyncIterator[Supervisor]:
    """Give a supervisor, and stop everything at the end, whatever happened."""
    supervisor = Supervisor(console, logs)
    try:
        yield supervisor
    finally:
        await asyncio.shield(asyncio.create_task(supervisor.stop_all()))


def stop_event() -> asyncio.Event:
    """Return an event that Ctrl-C, SIGTERM and a closed terminal set."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    return stopping

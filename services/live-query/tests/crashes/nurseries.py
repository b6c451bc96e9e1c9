"""live-query processes of a test: started fast (`nursery`), started again whenever one is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .points import Plan

START_SECONDS = 60.0
NURSERY = Path(__file__).with_name("nursery.py")


@dataclass(frozen=True)
class Passed:
    """A point that a process reached (`before`), did half or did (`after`); `ends`: and there it ended."""

    number: int
    stage: str
    place: str
    ends: bool


@dataclass
class Child:
    """A live-query process."""

    pid: int
    points: Path = Path()
    code: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    _killed: bool = False

    def kill(self) -> bool:
        """Send SIGKILL; False when it is over, or was killed before."""
        if self._killed or self.code.done():
            return False
        os.kill(self.pid, signal.SIGKILL)
        self._killed = True
        return True

    def passed(self) -> list[Passed]:
        """Return what it noted of its points, once it is over."""
        if not self.points.is_file():
            return []
        return [Passed(**json.loads(line)) for line in self.points.read_text().splitlines()]


class Deaths:
    """Tells whoever waits that a process is over: what it was asked it will not answer."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def tell(self) -> None:
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    def next(self) -> asyncio.Future[None]:
        """Return what is done with the next one."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next


class Nursery:
    """Forks processes; `environment` is theirs, their logs are in `directory`."""

    def __init__(
        self, process: asyncio.subprocess.Process, environment: dict[str, str], directory: Path, deaths: Deaths
    ) -> None:
        self._deaths = deaths
        self._process = process
        self._environment = environment
        self._directory = directory
        self._started: asyncio.Queue[Child] = asyncio.Queue()
        self._children: dict[int, Child] = {}
        self._turn = asyncio.Lock()
        self._count = 0

    async def start(self, plan: Plan | None = None) -> Child:
        """Start a process, which ends as planned; without a plan nothing of its libraries is wrapped."""
        async with self._turn:
            self._count += 1
            points = self._directory / f"points-{self._count}"
            wish = {
                "environment": self._environment,
                "plan": None if plan is None else plan.to_json(),
                "points": str(points),
                "log": str(self._directory / "live-query.log"),
            }
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")
            child = await asyncio.wait_for(self._started.get(), START_SECONDS)
            child.points = points
            return child

    async def listen(self) -> None:
        """Hear what the nursery says, until it is over."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "started" in said:
                self._started.put_nowait(self._children.setdefault(said["started"], Child(said["started"])))
            else:
                self._children.pop(said["ended"]).code.set_result(said["code"])
                self._deaths.tell()

    async def close(self) -> None:
        """End the nursery and what lives in it."""
        for child in self._children.values():
            child.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def open_nursery(
    environment: dict[str, str], directory: Path, deaths: Deaths, *, hurried: bool
) -> AsyncIterator[Nursery]:
    """Run a nursery, whose children are killed in the end. Hurried ones wait less long for what comes by the clock."""
    directory.mkdir()  # noqa: ASYNC240 - nothing else goes on
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(NURSERY),
        *(["--hurry"] if hurried else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1024 * 1024,
    )
    nursery = Nursery(process, environment, directory, deaths)
    listening = asyncio.create_task(nursery.listen())
    try:
        yield nursery
    finally:
        await nursery.close()
        await listening


Planning = Callable[[list[Passed]], Plan | None]
"""Plans the next process, from where those before it have ended as planned."""


class Upkeep:
    """Keeps one live-query running: whenever it is killed another one is started, with the next plan."""

    def __init__(self, nursery: Nursery, plan: Planning) -> None:
        self._nursery = nursery
        self._plan = plan
        self.over: list[Child] = []
        self.crashes: list[Passed] = []
        """Where processes have ended as planned."""
        self.child: Child | None = None

    async def run(self) -> None:
        """Keep it running for ever (cancel to stop).

        Raises:
            AssertionError: a process ended that nobody had killed.

        """
        while True:
            self.child = await self._nursery.start(self._plan(self.crashes))
            code = await asyncio.shield(self.child.code)
            self.over.append(self.child)
            self.crashes += [one for one in self.child.passed() if one.ends]
            assert code == -signal.SIGKILL, f"live-query ended by itself: {code}"


@asynccontextmanager
async def upkept(nursery: Nursery, plan: Planning) -> AsyncIterator[Upkeep]:
    """Keep one running while the block does; the block is cancelled when one ends by itself."""
    upkeep = Upkeep(nursery, plan)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(upkeep.run())
        yield upkeep
        running.cancel()
    if upkeep.child is not None:
        upkeep.child.kill()
        await upkeep.child.code
        upkeep.over.append(upkeep.child)

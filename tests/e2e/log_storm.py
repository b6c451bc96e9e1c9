"""A fault run of log lines: hundreds of hosts, nine destinations, and one part after the other killed; what is left."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from flotilla_common.testing.waiting import eventually
from flotilla_stack.control import ask
from flotilla_stack.home import Home
from flotilla_stack.testing import RunningStack

from .doors import gateways_of
from .log_books import BooksWatch, Letters, Row, letters_of
from .log_hosts import LogHost, Record
from .log_places import TROUBLES, Place, trouble
from .log_plan import LogPlan
from .log_setting import Setting, second_shipper
from .people import Person

HOSTS = 500
IN_OTHER_TEAM = 100  # of them
ENROLL_AT_ONCE = 64
ANY_TIME_HOURS = 1e-6  # every host has been silent for so long
FLOWING = 200  # acknowledged lines between two faults
FLOW_SECONDS, LAST_SECONDS, DRAIN_SECONDS, REPLAY_SECONDS = 60.0, 60.0, 180.0, 60.0
BURY_SECONDS = 60.0


@dataclass
class Outcome:
    """What is left when all is over."""

    plan: LogPlan
    record: Record
    watch: BooksWatch
    places: dict[str, Place] = field(default_factory=dict)
    found: dict[str, Counter[str]] = field(default_factory=dict)
    """Destination -> id -> how often the line is there."""
    books: dict[str, list[Row]] = field(default_factory=dict)
    """Destination -> its rows of the ledger, at the end."""
    letters: dict[str, Letters] = field(default_factory=dict)
    buried: Letters = field(default_factory=Letters)
    """Dead letters of the destination that buries what it cannot deliver, before they were tried again."""
    logged_at: dict[str, str] = field(default_factory=dict)
    """Host -> when a line of it last came, as /logs/gaps has it."""
    replayed: int = 0
    """Messages of the stream that were sent once more."""
    stored_parts: int = 0
    most_stored_bytes: int = 0
    story: list[str] = field(default_factory=list)


class Storm:
    """One run against a running stack of its own."""

    def __init__(self, stack: RunningStack, admin: Person, plan: LogPlan, setting: Setting) -> None:
        self.stack = stack
        self.admin = admin
        self.plan = plan
        self.setting = setting
        self.choice = random.Random(plan.seed)
        self.record = Record(plan.seed)
        self.outcome = Outcome(plan, self.record, BooksWatch(admin), setting.places)
        self.hosts: list[LogHost] = []
        self.is_over = asyncio.Event()
        self.began = time.time()
        self.second = second_shipper(stack)

    async def run(self) -> Outcome:
        """Let it rage, and return what is left."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._gather()
            self.second.start()
            tasks += [asyncio.create_task(host.live(self.is_over)) for host in self.hosts]
            watching = asyncio.create_task(self.outcome.watch.watch())
            await self._rage()
            self.is_over.set()
            await asyncio.wait_for(asyncio.gather(*tasks), LAST_SECONDS)
            self.say(f"all hosts are done, {len(self.record.acknowledged)} lines are acknowledged")
            await eventually(self._have_all_logged, timeout=LAST_SECONDS)
            await self._drain()
            self.outcome.watch.is_over = True
            await watching
            await self._look()
        finally:
            self.outcome.watch.is_over = True
            for task in tasks:
                task.cancel()
            self.second.stop()
        return self.outcome

    def say(self, text: str) -> None:
        """Note the time and what happens; shown when a test fails."""
        self.outcome.story.append(f"{time.time() - self.began:6.1f} s  {text}")

    async def _gather(self) -> None:
        """Make teams, destinations and hosts."""
        ours, secret = await self.admin.team(f"Logs {self.plan.seed}", mode="merge", options={})
        theirs, other_secret = await self.admin.team(f"Others {self.plan.seed}", mode="merge", options={})
        await self.setting.declare(self.admin, {"ours": ours, "theirs": theirs})
        gateways = gateways_of(self.stack.dev())
        self.hosts = [
            LogHost(number, gateways, self.record, "theirs" if number < IN_OTHER_TEAM else "ours")
            for number in range(HOSTS)
        ]
        slots = asyncio.Semaphore(ENROLL_AT_ONCE)

        async def enroll(host: LogHost) -> None:
            async with slots:
                await host.enroll(secret if host.team == "ours" else other_secret)

        await asyncio.gather(*map(enroll, self.hosts))
        self.hosts[0].make("huge")
        self.say(f"{len(self.hosts)} hosts and {len(self.outcome.places)} destinations are there")

    async def _rage(self) -> None:
        """Have one place down for long, and everything else fail in turn meanwhile and afterwards."""
        until = time.monotonic() + self.plan.seconds
        first = True
        while first or time.monotonic() < until:
            await self._flow()
            for name in self.setting.lagging:
                await self.setting.doorways[name].shut()
            self.say("two receivers are down")
            await self._spill()
            for fault in self.plan.turn(self.choice, is_lagging=True):
                await self._suffer(*fault)
            await eventually(self._has_buried, timeout=BURY_SECONDS)
            for name in self.setting.lagging:
                await self.setting.doorways[name].open()
            self.say("the receivers are back")
            for fault in self.plan.turn(self.choice, is_lagging=False):
                await self._suffer(*fault)
            first = False

    async def _flow(self) -> None:
        """Wait until so many further lines are acknowledged."""
        enough = len(self.record.acknowledged) + FLOWING
        await eventually(lambda: len(self.record.acknowledged) >= enough, timeout=FLOW_SECONDS)

    async def _has_buried(self) -> bool:
        """Whether the one that buries what it cannot deliver has done so: its backlog fills as fast as lines come."""
        try:
            rows = await self.outcome.watch.look()
        except (AssertionError, httpx2.HTTPError):
            return False
        return any(row["dead_lettered"] for row in rows if row["destination"] == self.setting.burying)

    async def _spill(self) -> None:
        """Kill the process that stores parts of the stream, once some are stored, and while it goes on."""
        folder = self.stack.home / "blobs" / "logs"
        await eventually(lambda: stored_bytes(folder)[1] > 0, timeout=FLOW_SECONDS)
        for victim in ("log-shipper", "second"):
            await self._suffer("kill", victim, 1.0)
        self._note_parts()

    def _note_parts(self) -> None:
        parts, size = stored_bytes(self.stack.home / "blobs" / "logs")
        self.outcome.stored_parts = max(self.outcome.stored_parts, parts)
        self.outcome.most_stored_bytes = max(self.outcome.most_stored_bytes, size)

    async def _suffer(self, how: str, part: str, seconds: float) -> None:
        """Have a part dead, paused or refusing for a while, then wait until lines flow."""
        self.say(f"{how} {part}, for {seconds:.1f} s")
        await self._strike(how, part, seconds)
        await self._flow()
        self._note_parts()

    async def _strike(self, how: str, part: str, seconds: float) -> None:
        match how:
            case "trouble" if part == "kafka":
                trouble(self.setting.kafka)
            case "trouble":
                self.setting.doorways[part].standin.faults = self.choice.choices(TROUBLES, k=8)
            case "replay":
                self.outcome.replayed += await eventually(lambda: self._replay(part), timeout=FLOW_SECONDS)
            case "down" if part == "kafka":
                self.setting.kafka.go_down()
                await asyncio.sleep(seconds)
                self.setting.kafka.come_up()
            case "down":
                await self.setting.doorways[part].shut()
                await asyncio.sleep(seconds)
                await self.setting.doorways[part].open()
            case "kill" if part == "second":
                self.second.kill()
                await asyncio.sleep(seconds)
                self.second.start()
            case "pause" if part == "second":
                self.second.signal(signal.SIGSTOP)
                await asyncio.sleep(seconds)
                self.second.signal(signal.SIGCONT)
            case _:
                await self._ctl(how, part)
                await asyncio.sleep(seconds)
                await self._ctl("start" if how == "kill" else "resume", part)

    async def _replay(self, name: str) -> int:
        """Have a destination sent once more what is kept; return how many messages that is, 0 when it is refused."""
        try:
            answer = await self.admin.call("POST", f"/logs/destinations/{name}/replay", {"from_sequence": 1})
        except (AssertionError, httpx2.HTTPError) as error:
            self.say(f"a replay was refused: {str(error)[:150]!r}")
            return 0
        return int(answer["replay"]["last_sequence"]) - int(answer["replay"]["first_sequence"]) + 1

    async def _ctl(self, command: str, part: str) -> None:
        await asyncio.to_thread(ask, Home(self.stack.home).control, command, part)

    async def _have_all_logged(self) -> bool:
        """Whether it is known of every host when a line of it last came (gateways tell every 10 s)."""
        page = await self.admin.call("GET", "/logs/gaps", hours=ANY_TIME_HOURS, per_page=2 * HOSTS)
        self.outcome.logged_at = {gap["display_name"]: gap["logged_at"] for gap in page["gaps"] if gap["logged_at"]}
        return len(self.outcome.logged_at) == HOSTS

    async def _drain(self) -> None:
        """Wait until no destination lacks a line."""

        async def is_drained() -> bool:
            rows = await self.outcome.watch.look()
            running = [one for one in (await self.admin.call("GET", "/logs/replays"))["replays"] if not one["ended_at"]]
            return not running and not any(row["pending"] for row in rows) and self._is_all_counted(rows)

        await eventually(is_drained, timeout=DRAIN_SECONDS)
        self.say("nothing is pending")

    def _is_all_counted(self, rows: list[Row]) -> bool:
        """Whether the books of one that takes everything have all that was acknowledged."""
        received: int = sum(row["received"] for row in rows if row["destination"] == "file")
        return received >= len(self.record.acknowledged)

    async def _look(self) -> None:
        """Read what is where; then have what was buried tried again, and read that."""
        burying = self.setting.burying
        self.outcome.buried = await letters_of(self.admin, burying)
        if self.outcome.buried.lines:
            await self.admin.call("POST", "/logs/dead_letters/replay", {"destination": burying})

            async def are_revived() -> bool:
                return not (await letters_of(self.admin, burying)).lines

            await eventually(are_revived, timeout=REPLAY_SECONDS)
        rows = await self.outcome.watch.look()
        for name, place in self.outcome.places.items():
            self.outcome.books[name] = [row for row in rows if row["destination"] == name]
            self.outcome.letters[name] = await letters_of(self.admin, name)
            self.outcome.found[name] = await place.count()
        self.say(f"{sum(map(sum, (found.values() for found in self.outcome.found.values())))} lines were delivered")


def stored_bytes(folder: Path) -> tuple[int, int]:
    """Return how many parts of the stream are in the blob store, and their size."""
    sizes = [entry.stat().st_size for entry in os.scandir(folder)] if folder.exists() else []
    return len(sizes), sum(sizes)

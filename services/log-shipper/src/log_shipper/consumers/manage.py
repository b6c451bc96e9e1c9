"""Which destinations have a worker here: those that are declared to this replica, and those that the API made.

The table is looked at every second, so that a change takes effect within two. A worker that delivers is given time to
finish its batch; one that waits is stopped at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.contracts.log_destinations import Destination, Origin
from flotilla_common.db.models.log_shipper import Destination as Row
from flotilla_common.errors import Conflict, Invalid

from log_shipper import metrics
from log_shipper.config_file import ConfigFile
from log_shipper.consumers.condition import words_of
from log_shipper.consumers.worker import Worker
from log_shipper.deps import Deps
from log_shipper.domain.running import Running, finishing, running
from log_shipper.domain.specs import check_identity, restored, shown
from log_shipper.errors import MadeByApi
from log_shipper.sinks import Sink
from log_shipper.store import dead_letters, destinations, replays

log = structlog.get_logger()

EVERY_SECONDS = 1.0
GRACE_SECONDS = 10.0  # for a batch that is being delivered: cut off, its lines might stand in the old place and the new
UNDECLARED = timedelta(seconds=60)
"""A destination that no replica has declared for so long is taken away: one with older settings may not do that."""

Opener = Callable[[Destination], Sink]
Version = tuple[str, int]
"""What a worker was started for: how its destination is known, and which version of it."""


@dataclass(frozen=True)
class Declared:
    """What the environment and the file name. A name in both is the environment's."""

    environment: Mapping[str, Destination] = field(default_factory=dict)
    file: ConfigFile | None = None

    def look(self) -> tuple[dict[str, tuple[Origin, Destination]], bool]:
        """Return what is declared now, and whether it makes sense. A file that does not is as it was before."""
        found: dict[str, tuple[Origin, Destination]] = {}
        if self.file is not None:
            try:
                self.file.look()
            except Invalid as error:
                log.warning("destinations are as they were before: their file makes no sense", error=str(error))
            found |= {name: ("file", spec) for name, spec in self.file.destinations.items()}
        found |= {name: ("environment", spec) for name, spec in self.environment.items()}
        return found, self.file is None or self.file.makes_sense


@dataclass
class _Running:
    """A worker's task."""

    version: Version
    worker: Worker
    task: asyncio.Task[None]


class Manager:
    """Keeps one worker here for each destination that should have one; leases choose among replicas."""

    def __init__(
        self, deps: Deps, declared: Declared, open_sink: Opener, *, undeclared: timedelta = UNDECLARED
    ) -> None:
        self._deps = deps
        self._declared = declared
        self._open_sink = open_sink
        self._undeclared = undeclared
        self._here: dict[str, tuple[Origin, Destination]] = {}
        self._numbers: dict[str, int] = {}
        self._unwritten: set[str] = set()
        self._refused: set[str] = set()
        self._workers: dict[str, _Running] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._wrong: dict[str, Version] = {}
        self._began = time.monotonic()
        self._declared_at = -destinations.DECLARE_SECONDS

    async def run(self) -> None:
        """Look after the workers for ever (cancel to stop), through outages."""
        try:
            while True:
                try:
                    await self.look()
                except outage.kinds() as error:
                    log.warning("destinations cannot be looked after", error=repr(error))
                heed()
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            for name in list(self._workers):
                self._stop(name)
            await asyncio.gather(*self._stopping.values())

    async def look(self) -> None:
        """Bring what runs in line with what is wanted."""
        self._read_declared()
        await self._declare()
        async with self._deps.sessions.begin() as session:
            rows = await destinations.all_rows(session)
        wanted = {row.name: self._version(row) for row in rows}
        stale = [name for name, one in self._workers.items() if wanted.get(name) != one.version or one.task.done()]
        for name in stale:
            self._stop(name)
        await asyncio.sleep(0)  # most are stopped at once
        self._stopping = {name: task for name, task in self._stopping.items() if not task.done()}
        for row in rows:
            version = wanted[row.name]
            if version is not None and row.name not in self._workers and row.name not in self._stopping:
                await self._start(row, version)

    def _read_declared(self) -> None:
        now, makes_sense = self._declared.look()
        self._refused &= set(now)
        metrics.CONFIG_BROKEN.set(not makes_sense or bool(self._refused))
        for name, found in now.items():
            if found != self._here.get(name):
                self._numbers[name] = self._numbers.get(name, 0) + 1
                self._unwritten.add(name)
        self._here = now
        self._deps.declared.clear()
        self._deps.declared.update({name: spec for name, (_, spec) in now.items()})
        self._unwritten &= set(now)

    async def _declare(self) -> None:
        """Say what is declared here, and take away what no replica declares any more.

        A declared destination is written to the table when it changes here: replicas with different settings would
        write it to and fro.
        """
        for name in sorted(self._unwritten):
            await self._write(*self._here[name])
        if time.monotonic() < self._declared_at + destinations.DECLARE_SECONDS:
            return
        async with self._deps.sessions.begin() as session:
            gone = await destinations.declare(session, self._here, self._undeclared)
            if time.monotonic() < self._began + self._undeclared.total_seconds():
                gone = ()
            for name in gone:
                log.warning("destination is taken away: no replica declares it", destination=name)
                await destinations.take_away(session, name)
                await replays.end_all_of(session, name)
                await dead_letters.ask_no_more(session, name)
        self._declared_at = time.monotonic()

    async def _write(self, origin: Origin, spec: Destination) -> None:
        row = Row(name=spec.name, kind=spec.kind, origin=origin, spec=shown(spec))
        try:
            async with self._deps.sessions.begin() as session:
                await destinations.put(session, row)
                await destinations.declare(session, [spec.name], self._undeclared)
        except MadeByApi as error:
            if spec.name not in self._refused:
                log.warning("a declared destination is not followed", destination=spec.name, error=str(error))
            self._refused.add(spec.name)
        except Conflict as error:
            log.info("destination waits", destination=spec.name, error=str(error))
        else:
            self._unwritten.discard(spec.name)
            self._refused.discard(spec.name)

    def _version(self, row: Row) -> Version | None:
        """Return what a destination's worker is to be started for; None when it should have none here."""
        if row.until_sequence is not None:
            return None if row.cursor_sequence >= row.until_sequence else ("finishing", row.until_sequence)
        if row.paused_at is not None:
            return None
        if row.origin == "api":
            return "api", row.revision
        return ("declared", self._numbers[row.name]) if row.name in self._here else None

    async def _start(self, row: Row, version: Version) -> None:
        try:
            destination = self._running(row, version)
        except Exception as error:  # noqa: BLE001 - the last resort: settings that a library does not like stop nobody else
            if self._wrong.get(row.name) != version:
                log.warning("destination cannot be opened", destination=row.name, error=repr(error))
                async with self._deps.sessions.begin() as session:
                    await destinations.note_failure(session, row.name, words_of(error))
            self._wrong[row.name] = version
            metrics.FAILING.labels(row.name).set(1)
            return
        self._wrong.pop(row.name, None)
        worker = Worker(destination, self._deps)
        task = asyncio.create_task(worker.run(), name=f"drain {row.name}")
        self._workers[row.name] = _Running(version, worker, task)

    def _running(self, row: Row, version: Version) -> Running:
        how, number = version
        if how == "finishing":
            return finishing(row.name, number)
        if how == "api":
            spec = restored(row.spec, row.secrets, self._deps.secrets_key)
            check_identity(spec, roles_by_api=self._deps.roles_by_api)
        else:
            _, spec = self._here[row.name]
        return running(spec, self._open_sink(spec))

    def _stop(self, name: str) -> None:
        """End a worker; one that delivers may finish its batch, and nobody else waits for that."""
        one = self._workers.pop(name)
        self._stopping[name] = asyncio.create_task(_end(name, one), name=f"stop {name}")


async def _end(name: str, one: _Running) -> None:
    if not one.task.done():
        await one.worker.rest(GRACE_SECONDS)
    one.task.cancel()
    await asyncio.wait([one.task])
    if not one.task.cancelled() and (error := one.task.exception()) is not None:
        log.error("worker failed", destination=name, error=repr(error))

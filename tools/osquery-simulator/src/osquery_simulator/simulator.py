"""A fleet of pretended hosts in one process."""

import asyncio
from collections import Counter
from types import TracebackType
from typing import Any, Self

from osquery_simulator import profiles
from osquery_simulator.account import AcceptedIds, IdFile, write_json
from osquery_simulator.clock import Clock
from osquery_simulator.disk import KINDS, StateStore
from osquery_simulator.host import Host
from osquery_simulator.http_client import HttpClient, tls_context
from osquery_simulator.report import Statistics
from osquery_simulator.settings import SimulatorSettings
from osquery_simulator.signals import PATIENCE_SECONDS
from osquery_simulator.sql import SqlEngine

SAVE_SECONDS = 1.0  # between two looks for disks that have changed


class Simulator:
    """Runs the hosts from `async with` on, until its end.

    Example:
        async with Simulator(SimulatorSettings(url=url, enroll_secret=secret, hosts=3)) as fleet:
            await fleet.hosts[0].enrolled.wait()

    """

    def __init__(self, settings: SimulatorSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clock = clock or Clock(settings.interval_scale)
        self.statistics = Statistics()
        self.hosts: list[Host] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopped = False

    async def __aenter__(self) -> Self:
        settings = self.settings
        tls = None
        if settings.url.startswith("https:"):
            tls = tls_context(str(settings.ca_file) if settings.ca_file else None, is_verified=settings.is_verified)
        self._client = HttpClient(
            tls, self._clock, keep_alive=settings.keep_alive, timeout_seconds=settings.timeout_seconds
        )
        self._engine = SqlEngine(settings.sql_threads, settings.sql_limit_seconds, self._clock)
        self._store = StateStore(settings.state_dir)
        self._ids = self._id_file()
        names = profiles.assign(settings.hosts, dict(settings.profiles))
        self.hosts = [self._host(settings.first_index + number, name) for number, name in enumerate(names)]
        pause = settings.start_spread_seconds / max(1, len(self.hosts))
        self._tasks = [asyncio.create_task(self._start(host, number * pause)) for number, host in enumerate(self.hosts)]
        self._tasks.append(asyncio.create_task(self._save_for_ever()))
        return self

    def _id_file(self) -> IdFile | None:
        if self.settings.account_file is None:
            return None
        is_continued = self.settings.state_dir is not None
        return IdFile(self.settings.account_file, self.settings.account_limit, is_continued=is_continued)

    def _host(self, index: int, profile: str) -> Host:
        return Host(
            self.settings,
            index,
            profile,
            clock=self._clock,
            client=self._client,
            engine=self._engine,
            statistics=self.statistics,
            account=AcceptedIds(self._ids, is_kept=self.settings.numbers_lines and self._ids is None),
            disk=self._store.load(f"{self.settings.seed}/{index}"),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        broken = await self.stop()
        if broken and error is None:
            raise broken[0]

    async def stop(self) -> list[Exception]:
        """Stop all hosts, write everything down, and give the errors that had ended any; a second call does nothing."""
        if self._is_stopped:
            return []
        self._is_stopped = True
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for host in self.hosts:
            host.stop()
        self._save()
        self._store.close()
        self._engine.close()
        self.write_files()
        if self._ids is not None:
            self._ids.close()
        return [result for result in results if isinstance(result, Exception)]

    async def run_until(self, stopped: asyncio.Event, seconds: float | None) -> None:
        """Run until the event is set or the time is over, and fail when a host does."""
        stop = asyncio.create_task(stopped.wait())
        done, _ = await asyncio.wait({stop, *self._tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for task in done - {stop}:
            task.result()

    async def enrolled(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until every host has enrolled."""
        async with asyncio.timeout(timeout_seconds):
            for host in self.hosts:
                await host.enrolled.wait()

    def lines(self, kind: str = "result") -> dict[str, int]:
        """Count the lines of all hosts: produced = accepted + dropped + waiting."""
        total: Counter[str] = Counter(produced=0, accepted=0, dropped=0, waiting=0)
        for host in self.hosts:
            counts = host.disk.counts[kind]
            total.update(produced=counts.produced, accepted=counts.accepted, dropped=counts.dropped)
            total.update(waiting=host.disk.waiting(kind))
        return dict(total)

    def report(self) -> dict[str, Any]:
        """Give the figures of the run."""
        self.statistics.counters["connections"] = self._client.connections
        enrolled = sum(1 for host in self.hosts if host.node_key)
        answered = sum(host.distributed.answered for host in self.hosts)
        return {
            "hosts": len(self.hosts),
            "hosts_enrolled": enrolled,
            "queries_answered": answered,
            **self.statistics.to_json(),
            "lines": {kind: self.lines(kind) for kind in KINDS},
        }

    def account(self) -> dict[str, Any]:
        """Give the exact account of lines, since the state folder was begun."""
        hosts = {
            host.host_identifier: {
                kind: {**vars(host.disk.counts[kind]), "waiting": host.disk.waiting(kind)} for kind in KINDS
            }
            for host in self.hosts
        }
        ids = {"file": self._ids.path.name, "is_cut": self._ids.is_cut} if self._ids else None
        return {"total": {kind: self.lines(kind) for kind in KINDS}, "accepted_ids": ids, "hosts": hosts}

    def write_files(self) -> None:
        """Write report, hosts and account where the settings want them."""
        if self.settings.hosts_file is not None:
            write_json(self.settings.hosts_file, [host.describe() for host in self.hosts])
        if self.settings.report_file is not None:
            write_json(self.settings.report_file, self.report())
        if self.settings.account_file is not None and self._ids is not None:
            self._ids.flush()
            write_json(self.settings.account_file, self.account())

    async def _save_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            self._save()

    def _save(self) -> None:
        dirty = [host for host in self.hosts if host.remote.is_dirty]
        for host in dirty:
            host.remote.is_dirty = False
        self._store.save({f"{self.settings.seed}/{host.index}": host.disk for host in dirty})

    async def _start(self, host: Host, seconds: float) -> None:
        await self._clock.sleep(seconds)
        try:
            await host.run()
        finally:
            host.stop()

"""One pretended host: a watcher, and a worker with its threads."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from osquery_simulator import identity, profiles
from osquery_simulator.account import AcceptedIds
from osquery_simulator.carver import Carver
from osquery_simulator.clock import Clock
from osquery_simulator.config import Config, HostKind, parse_config, shard_of
from osquery_simulator.disk import HostDisk
from osquery_simulator.distributed import Distributed
from osquery_simulator.flags import Flags
from osquery_simulator.host_details import enroll_members
from osquery_simulator.http_client import HttpClient
from osquery_simulator.logger import Logger
from osquery_simulator.overlay import OSQUERY_VERSION, View
from osquery_simulator.refresher import Refresher
from osquery_simulator.remote import Remote, WorkerCrashError
from osquery_simulator.report import Statistics
from osquery_simulator.result_lines import INFO, WARNING
from osquery_simulator.scheduler import Scheduler
from osquery_simulator.script import Script
from osquery_simulator.settings import SimulatorSettings
from osquery_simulator.signals import PATIENCE_SECONDS, Signal
from osquery_simulator.sql import SqlEngine

RESTART_SECONDS = 3  # until the watcher starts a new worker
SERVICE_RESTART_SECONDS = 10  # until the machine's service manager starts osqueryd again
ROUNDS_AT_START = 4  # of enrolment; when all fail, osqueryd ends with status 78
NEW_DATABASE = "Failed to obtain database version. Assume version '0' and migrate."
NO_EVENTS = "Event publisher not enabled: inotify: Publisher disabled via configuration"


class GaveUpError(Exception):
    """No round of the start-up brought a node key: exit status 78."""


class Host:
    """A host of the simulated fleet, and what a test may ask of it."""

    def __init__(
        self,
        settings: SimulatorSettings,
        index: int,
        profile_name: str,
        *,
        clock: Clock,
        client: HttpClient,
        engine: SqlEngine,
        statistics: Statistics,
        account: AcceptedIds,
        disk: HostDisk | None = None,
    ) -> None:
        self.settings, self.index, self.statistics, self.account = settings, index, statistics, account
        self.profile = profiles.load(profile_name)
        self.identity = identity.make(settings.seed, index, profile_name)
        self.flags = Flags(settings.flags)
        chosen = {"hostname": self.identity.hostname, "instance": self.identity.instance_id}
        self.host_identifier = chosen.get(self.flags.text("host_identifier"), self.identity.uuid)
        self.disk = disk if disk is not None else HostDisk()
        self.changed, self.script = Signal(), Script()
        self.enrolled = asyncio.Event()
        self.restarts = self.exits = 0
        self.view = View(self.identity, self.profile, clock)
        self.view.flags = lambda: list(self.flags.rows(self.profile.platform))
        self.remote = Remote(settings, clock, client, statistics, self.flags, self.disk, self._describe, self.changed)
        self.logger = Logger(
            self.remote, self.host_identifier, account, self.script, lambda: self.scheduler.decorations
        )
        dice = random.Random(f"{settings.seed}:{index}:schedule")  # noqa: S311 - spreads load, keeps no secret
        self.scheduler = Scheduler(self.remote, self.logger, engine, self.view, dice)
        self.view.schedule, self.view.packs = self.scheduler.schedule_rows, self.scheduler.pack_rows
        guids = random.Random(f"{settings.seed}:{index}:carves:{len(self.disk.carves)}")  # noqa: S311 - no secrets
        self.carver = Carver(self.remote, self.view, guids)
        self.distributed = Distributed(self.remote, self.logger, engine, self.view, self.script, self.carver)
        self.refresher = Refresher(self.remote, self._configure, self._unschedule)
        self._engine = engine

    @property
    def node_key(self) -> str:
        """The key that the host shows now; empty while it has none."""
        return self.disk.node_key

    @property
    def config(self) -> dict[str, Any]:
        """The last configuration that the host accepted."""
        return self.refresher.document

    @property
    def accepted_lines(self) -> list[str]:
        """Ids of result lines that the server has accepted; kept with `numbers_lines` only."""
        return self.account.kept.get("result", [])

    @property
    def is_connected(self) -> bool:
        """Whether the host has a network."""
        return self.remote.line.is_connected

    async def _describe(self) -> dict[str, Any]:
        return await enroll_members(self._engine, self.view, self.host_identifier)

    def describe(self) -> dict[str, Any]:
        """Say who the host is and what it holds; the node key is nobody's business."""
        return {
            "index": self.index,
            "host_identifier": self.host_identifier,
            "hostname": self.identity.hostname,
            "serial": self.identity.serial,
            "profile": self.profile.name,
            "is_enrolled": bool(self.node_key),
            "enrolls": self.remote.enrolls,
            "restarts": self.restarts,
            "queries_answered": self.distributed.answered,
            "config_changes": self.refresher.changes,
            "config": self.config,
        }

    # --- life ---

    async def run(self) -> None:
        """Live: a worker that dies of an answer is started again after 3 s, with its disk and without its memory."""
        while True:
            try:
                # In a task of its own: in Python 3.11.2 a task group that failed leaves its task half cancelled.
                await asyncio.create_task(self._work())
            except* WorkerCrashError:
                self.statistics.counters["crashes"] += 1
                await self._start_again(RESTART_SECONDS)
            except* GaveUpError:
                self.exits += 1
                self.statistics.counters["exits"] += 1
                await self._start_again(SERVICE_RESTART_SECONDS)

    async def _start_again(self, seconds: float) -> None:
        self.remote.drop_connections()
        self.distributed.forget()
        self.logger.forget()
        self.refresher.forget()
        self.flags.reset()
        self.view.restart()
        self.restarts += 1
        self.changed.fire()
        await self.remote.clock.sleep(seconds)

    async def _work(self) -> None:
        await self._start_up()
        self.enrolled.set()
        async with asyncio.TaskGroup() as threads:
            threads.create_task(self.logger.run())
            threads.create_task(self._begin_events())
            threads.create_task(self.scheduler.run())
            threads.create_task(self.refresher.run())
            threads.create_task(self.distributed.run())
            threads.create_task(self.carver.run())

    async def _begin_events(self) -> None:
        """Say what osqueryd says when it starts its event publishers, which is after the logger's first round."""
        if self.profile.platform == "linux":
            self.logger.say(INFO, "eventfactory.cpp", 156, NO_EVENTS)

    async def _start_up(self) -> None:
        """Enroll and ask for the first configuration, before any other thread begins."""
        if self.disk.is_new:
            self.disk.is_new = False
            self.logger.say(INFO, "database.cpp", 655, NEW_DATABASE)
        await self.remote.need_key("start-up")
        await self.refresher.round("start-up")
        for _ in range(2, ROUNDS_AT_START):
            await self.remote.need_key("start-up")
        if not self.node_key:
            raise GaveUpError

    async def _configure(self, document: dict[str, Any]) -> None:
        kind = HostKind(self.profile.platform, OSQUERY_VERSION, shard_of(self.host_identifier))
        config = parse_config(document, self.flags, kind)
        self.view.config_hash, self.view.config_valid = config.digest, True
        for warning in config.warnings:
            self.logger.say(WARNING, "options.cpp", 0, warning)
        await self.scheduler.configure(config)
        self.changed.fire()

    async def _unschedule(self) -> None:
        await self.scheduler.configure(Config())

    def stop(self) -> None:
        """Pull the plug: close all sockets."""
        self.remote.drop_connections()

    # --- what a test may ask ---

    async def config_changed(
        self, claim: Callable[[dict[str, Any]], object] | None = None, *, timeout_seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """Wait for a configuration that fulfils the claim; without a claim, for another than the present one."""
        before = self.refresher.changes
        await self.changed.until(
            lambda: claim(self.config) if claim else self.refresher.changes > before, timeout_seconds
        )
        return self.config

    async def until(self, claim: Callable[["Host"], object], *, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the claim about this host holds; it is looked at whenever the host has changed."""
        await self.changed.until(lambda: claim(self), timeout_seconds)

    async def refresh_config_now(self) -> None:
        """Ask for the configuration now, and wait for the answer."""
        await self.refresher.beat.now()

    async def poll_now(self) -> None:
        """Ask for distributed queries now, and wait until they are run and answered."""
        await self.distributed.beat.now()

    async def log_now(self) -> None:
        """Send waiting lines now (unless they are backed off), and wait for the answer."""
        await self.logger.beat.now()

    async def run_scheduled_now(self, name: str) -> None:
        """Run a scheduled query now, by the name in its results.

        Raises:
            KeyError: none of that name is scheduled.

        """
        await self.scheduler.execute(self.scheduler.find(name))

    def go_offline(self) -> None:
        """Unplug the network: every request fails at once."""
        self.remote.line.is_connected = False
        self.remote.drop_connections()

    def go_online(self) -> None:
        """Plug the network in again; all threads make a round at once."""
        self.remote.line.is_connected = True
        for beat in (self.refresher.beat, self.distributed.beat, self.logger.beat):
            beat.wake()

    def lose_replies(self, count: int) -> None:
        """Let the next replies get lost on their way: the server has done its part, the host does not know."""
        self.remote.line.replies_to_lose += count

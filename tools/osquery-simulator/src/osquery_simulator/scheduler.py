"""The scheduler thread: runs what the configuration schedules and logs what it finds."""

import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from osquery_simulator.config import Config, Decorators, ScheduledQuery
from osquery_simulator.disk import QueryMemory
from osquery_simulator.logger import Logger
from osquery_simulator.overlay import View
from osquery_simulator.profiles import Row
from osquery_simulator.remote import Remote, dumps
from osquery_simulator.result_lines import ERROR, INFO, Occasion, batch_line, difference, event_line, snapshot_line
from osquery_simulator.sql import QueryResult, SqlEngine

DRIFT_LIMIT = 60  # steps; further behind, the scheduler begins again at the present


@dataclass
class Scheduler:
    """One host's schedule."""

    remote: Remote
    logger: Logger
    engine: SqlEngine
    view: View
    dice: random.Random
    config: Config = field(default_factory=Config)
    decorations: dict[str, str] = field(default_factory=dict)
    _timed: dict[int, float] = field(default_factory=dict)
    _active: tuple[ScheduledQuery, ...] = ()
    _reconfigured: asyncio.Event = field(default_factory=asyncio.Event)

    async def configure(self, config: Config) -> None:
        """Take a new schedule: `load` decorators run again, packs ask their discovery queries."""
        self.config = config
        self.decorations, self._timed = {}, {}
        if not self.remote.flags.switch("disable_decorators"):
            await self._decorate(config.decorators.load)
        active: list[ScheduledQuery] = []
        for pack in config.packs:
            if all([(await self.engine.run(self.view, sql)).rows for sql in pack.discovery]):
                active += pack.queries
        self._active = tuple(active)
        self._reconfigured.set()

    async def run(self) -> None:
        """Step through the seconds; a query is due whenever its interval divides the number of the second."""
        step = int(time.time())
        began = time.monotonic()
        scale = self.remote.settings.interval_scale
        while True:
            due_step, due = self._next(step)
            lateness = (time.monotonic() - began) / scale - (due_step - step)
            if await self._is_interrupted(-lateness * scale if due else None):
                step, began = step + int((time.monotonic() - began) / scale), time.monotonic()
                continue
            for query in due:
                await self.execute(query)
            began = time.monotonic() if lateness > DRIFT_LIMIT else began + (due_step - step) * scale
            step = due_step

    def _next(self, step: int) -> tuple[int, list[ScheduledQuery]]:
        splayed = [(query, self._splayed(query)) for query in self._active]
        due_step = min(((step // interval + 1) * interval for _, interval in splayed), default=step)
        return due_step, [query for query, interval in splayed if due_step % interval == 0]

    async def _is_interrupted(self, seconds: float | None) -> bool:
        """Wait until something is due; true when a new configuration came first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds is None else max(seconds, 0)):
                await self._reconfigured.wait()
        was_reconfigured = self._reconfigured.is_set()
        self._reconfigured.clear()
        return was_reconfigured

    def _splayed(self, query: ScheduledQuery) -> int:
        """Move the interval by up to 10 %, once; the host remembers it."""
        memory = self.memory(query.name)
        if memory.interval != query.interval:
            spread = query.interval * self.remote.flags.number("schedule_splay_percent") // 100
            memory.interval = query.interval
            memory.splayed = max(1, self.dice.randint(query.interval - spread, query.interval + spread))
            self.remote.is_dirty = True
        return memory.splayed

    def memory(self, name: str) -> QueryMemory:
        """Give what the disk holds about a query."""
        return self.remote.disk.queries.setdefault(name, QueryMemory())

    def find(self, name: str) -> ScheduledQuery:
        """Find an active query by the name in its results.

        Raises:
            KeyError: none of that name is scheduled.

        """
        for query in self._active:
            if query.name == name:
                return query
        raise KeyError(name)

    async def execute(self, query: ScheduledQuery) -> None:
        """Run a query and log its results."""
        await self._decorate_before()
        result = await self.engine.run(self.view, query.sql)
        memory = self.memory(query.name)
        memory.executions += 1
        memory.last_executed = int(time.time())
        self.remote.is_dirty = True
        if result.error:
            message = f"Error executing scheduled query {query.name}: {result.error}"
            self.logger.say(ERROR, "scheduler.cpp", 128, message)
        elif query.is_snapshot:
            self._log_snapshot(query, result)
        else:
            self._log_difference(query, result, memory)

    def _occasion(self, query: ScheduledQuery, counter: int) -> Occasion:
        flags = self.remote.flags
        return Occasion(
            name=query.name,
            host_identifier=self.logger.host_identifier,
            unix_time=int(time.time()),
            epoch=flags.number("schedule_epoch"),
            counter=counter,
            is_numeric=flags.switch("logger_numerics"),
            decorations=dict(self.decorations),
            is_top_level=flags.switch("decorations_top_level"),
        )

    def _sorted_rows(self, result: QueryResult) -> list[Any]:
        """Give rows with sorted columns; numbers only where the flag says so."""
        rows = result.rows if self.remote.flags.switch("logger_numerics") else result.text_rows()
        return [dict(sorted(row.items())) for row in rows]

    def _log_snapshot(self, query: ScheduledQuery, result: QueryResult) -> None:
        occasion, rows = self._occasion(query, 0), self._sorted_rows(result)
        if not self.remote.flags.switch("logger_snapshot_event_type"):
            self.logger.add_result(lambda line_id: snapshot_line(occasion, rows, line_id))
            return
        for row in rows:
            self.logger.add_result(lambda line_id, row=row: event_line(occasion, row, "snapshot", line_id))  # type: ignore[misc]

    def _log_difference(self, query: ScheduledQuery, result: QueryResult, memory: QueryMemory) -> None:
        epoch = self.remote.flags.number("schedule_epoch")
        rows = [dumps(row) for row in self._sorted_rows(result)]
        is_first = memory.counter < 0 or memory.sql != query.sql or memory.epoch != epoch
        if is_first:
            said = f"Storing initial results for new scheduled query: {query.name}"
            self.logger.say(INFO, "query.cpp", 119, said)
        added, removed = (rows, []) if is_first else difference(memory.rows, rows)
        memory.counter = 0 if is_first else memory.counter + 1
        memory.sql, memory.epoch, memory.rows = query.sql, epoch, rows
        self._log_changes(self._occasion(query, memory.counter), added, removed if query.logs_removed else [], is_first)

    def _log_changes(self, occasion: Occasion, added: list[str], removed: list[str], is_first: bool) -> None:
        came, went = [_row(text) for text in added], [_row(text) for text in removed]
        if not self.remote.flags.switch("logger_event_type"):
            if came or went or is_first:
                self.logger.add_result(lambda line_id: batch_line(occasion, came, went, line_id))
            return
        for action, rows in (("removed", went), ("added", came)):
            for row in rows:
                self.logger.add_result(
                    lambda line_id, row=row, action=action: event_line(occasion, row, action, line_id)  # type: ignore[misc]
                )

    async def _decorate_before(self) -> None:
        decorators: Decorators = self.config.decorators
        if self.remote.flags.switch("disable_decorators"):
            return
        await self._decorate(decorators.always)
        for seconds, queries in decorators.interval:
            if (
                time.monotonic() - self._timed.get(seconds, float("-inf"))
                >= seconds * self.remote.settings.interval_scale
            ):
                self._timed[seconds] = time.monotonic()
                await self._decorate(queries)

    async def _decorate(self, queries: tuple[str, ...]) -> None:
        for sql in queries:
            rows = (await self.engine.run(self.view, sql)).text_rows()
            self.decorations |= rows[0] if rows else {}

    def schedule_rows(self) -> list[Row]:
        """List the schedule as the osquery_schedule table does."""
        return [
            {
                "name": query.name,
                "query": query.sql,
                "interval": query.interval,
                "executions": self.memory(query.name).executions,
                "last_executed": self.memory(query.name).last_executed,
                "denylisted": 0,
            }
            for query in self._active
        ]

    def pack_rows(self) -> list[Row]:
        """List the packs as the osquery_packs table does."""
        return [
            {"name": pack.name, "platform": pack.platform, "version": pack.version, "shard": pack.shard, "active": 1}
            for pack in self.config.packs
        ]


def _row(text: str) -> Any:
    return json.loads(text)

"""The scheduler thread: runs what the configuration schedules and logs what it finds."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

from osquery_simulator.config import Config, ScheduledQuery
from osquery_simulator.disk import QueryMemory
from osquery_simulator.logger import Logger
from osquery_simulator.overlay import View
from osquery_simulator.profiles import Row
from osquery_simulator.remote import Remote, dumps
from osquery_simulator.result_lines import ERROR, INFO, Occasion, batch_line, difference, event_line, snapshot_line
from osquery_simulator.sql import QueryResult, SqlEngine


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
    _active: tuple[ScheduledQuery, ...] = ()
    _reconfigured: asyncio.Event = field(default_factory=asyncio.Event)

    async def configure(self, config: Config) -> None:
        """Take a new schedule: `load` decorators run again, packs ask their discovery queries."""
        self.config = config
        self.decorations = {}
        if not self.remote.flags.switch("disable_decorators"):
            await self._decorate(config.decorators.load)
        active: list[ScheduledQuery] = []
        for pack in config.packs:
            if all([(await self.engine.run(self.view, sql)).rows for sql in pack.discovery]):
                active += pack.queries
        self._active = tuple(active)
        self._reconfigured.set()

    async def run(self) -> None:
        """Step through the seconds; a query is due whenever its interval divides the number of the second.

        The second in which the scheduler starts is the first step.
        """
        clock = self.remote.clock
        step = float(int(clock.unix()) - 1)
        origin = clock.now() - step - 1  # when step 0 would have been
        self._reconfigured.clear()
        while True:
            due_step = self._next(step)
            if await self._is_interrupted(origin + due_step - clock.now()):
                step = max(step, clock.now() - origin)
                continue
            await self._step(due_step)
            step = due_step
            if clock.now() - origin - step > self.remote.flags.number("schedule_max_drift"):
                origin = clock.now() - step  # too far behind: the scheduler goes on from the present

    def _next(self, step: float) -> float:
        """Find the next step in which anything is due; `inf` when nothing ever is."""
        intervals = [self._splayed(query) for query in self._active]
        intervals += [seconds for seconds, _ in self.config.decorators.interval]
        return min(((step // interval + 1) * interval for interval in intervals), default=float("inf"))

    async def _step(self, step: float) -> None:
        for query in self._active:
            if step % self._splayed(query) == 0:
                await self.execute(query)
        # Observed: decorators by interval come after the queries of their step.
        for seconds, queries in self.config.decorators.interval:
            if step % seconds == 0 and not self.remote.flags.switch("disable_decorators"):
                await self._decorate(queries)
        self.logger.relay()

    async def _is_interrupted(self, seconds: float) -> bool:
        """Wait until something is due; true when a new configuration came first."""
        await self.remote.clock.wait(self._reconfigured, seconds)
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
        if not self.remote.flags.switch("disable_decorators"):
            await self._decorate(self.config.decorators.always)
        result = await self.engine.run(self.view, query.sql)
        memory = self.memory(query.name)
        self._note(memory, result)
        if result.error:
            message = f"Error executing scheduled query {query.name}: {result.error}"
            self.logger.say(ERROR, "scheduler.cpp", 128, message)
        elif query.is_snapshot:
            self._log_snapshot(query, result)
        else:
            self._log_difference(query, result, memory)

    def _note(self, memory: QueryMemory, result: QueryResult) -> None:
        memory.executions += 1
        memory.last_executed = int(self.remote.clock.unix())
        memory.output_size += len(dumps(result.text_rows()))
        memory.last_wall_milliseconds = result.wall_milliseconds
        memory.wall_milliseconds += result.wall_milliseconds
        self.remote.is_dirty = True

    def _occasion(self, query: ScheduledQuery, counter: int) -> Occasion:
        flags = self.remote.flags
        return Occasion(
            name=query.name,
            host_identifier=self.logger.host_identifier,
            unix_time=int(self.remote.clock.unix()),
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
        if not (is_first or added or removed):
            return  # observed: the counter counts executions that changed something
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

    async def _decorate(self, queries: tuple[str, ...]) -> None:
        for sql in queries:
            rows = (await self.engine.run(self.view, sql)).text_rows()
            self.decorations |= rows[0] if rows else {}

    def schedule_rows(self) -> list[Row]:
        """List the schedule as the osquery_schedule table does."""
        return [_schedule_row(query, self.memory(query.name)) for query in self._active]

    def pack_rows(self) -> list[Row]:
        """List the packs as the osquery_packs table does."""
        return [
            {
                "name": pack.name,
                "platform": pack.platform,
                "version": pack.version,
                "shard": pack.shard,
                "discovery_cache_hits": 0,
                "discovery_executions": 1,
                "active": 1,
            }
            for pack in self.config.packs
        ]


def _schedule_row(query: ScheduledQuery, memory: QueryMemory) -> Row:
    unmeasured = ("user_time", "last_user_time", "system_time", "last_system_time", "average_memory", "last_memory")
    return {
        "name": query.name,
        "query": query.sql,
        "interval": query.interval,
        "executions": memory.executions,
        "last_executed": memory.last_executed,
        "denylisted": 0,
        "output_size": memory.output_size,
        "wall_time": memory.wall_milliseconds // 1000,
        "wall_time_ms": memory.wall_milliseconds,
        "last_wall_time_ms": memory.last_wall_milliseconds,
        **dict.fromkeys(unmeasured, 0),
    }


def _row(text: str) -> Any:
    return json.loads(text)

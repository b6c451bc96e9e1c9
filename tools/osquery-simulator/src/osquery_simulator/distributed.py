"""The distributed thread: asks for queries, runs them in order of name, keeps results until they are taken."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from osquery_simulator.carver import Carver
from osquery_simulator.logger import Logger
from osquery_simulator.overlay import View
from osquery_simulator.remote import READ, WRITE, Remote, WorkerCrashError
from osquery_simulator.result_lines import ERROR
from osquery_simulator.script import Script
from osquery_simulator.signals import Beat
from osquery_simulator.sql import QueryResult, SqlEngine

THREAD = "distributed"
ACCELERATED_SECONDS = 5
DENYLISTED = "distributed query is denylisted"


@dataclass
class Answer:
    """What the host has to say about one query."""

    rows: list[dict[str, str]]
    status: int
    message: str
    stats: dict[str, int]


@dataclass
class Distributed:
    """One host's live queries."""

    remote: Remote
    logger: Logger
    engine: SqlEngine
    view: View
    script: Script
    carver: Carver
    beat: Beat = field(init=False)
    results: dict[str, Answer] = field(default_factory=dict)
    """In memory only: a restart loses them."""
    answered: int = 0
    """Queries whose answers the server has accepted."""
    _accelerated_until: float = float("-inf")

    def __post_init__(self) -> None:
        self.beat = Beat(self.remote.clock)

    async def run(self) -> None:
        """Poll, run, answer, rest, for ever."""
        while True:
            if not self.remote.flags.switch("disable_distributed"):
                await self.round()
            await self.beat.rest(self._pause())

    def _pause(self) -> float:
        interval = max(1, self.remote.flags.number("distributed_interval"))
        return ACCELERATED_SECONDS if self.remote.clock.now() < self._accelerated_until else interval

    async def round(self) -> None:
        """Read once, run all that is pending, and write; results of an earlier round go along."""
        attempts = self.remote.flags.number("distributed_tls_max_attempts")
        verdict = await self.remote.ask_retrying(THREAD, READ, {}, attempts)
        if verdict.is_success:
            await self._accept(verdict.document)
        await self._run_pending()
        if self.results:
            await self._write(attempts)

    async def _accept(self, document: dict[str, Any]) -> None:
        """Take the queries of an answer.

        Observed: a discovery query that fails discards everything; an empty or odd SQL text ends the reading there, and
        the rest of the answer, `accelerate` included, is ignored.
        """
        selected = await self._discover(document.get("discovery"))
        queries = document.get("queries")
        if selected is None:
            return
        for name, sql in queries.items() if isinstance(queries, dict) else ():
            if not name or not isinstance(sql, str) or not sql:
                return
            if selected.get(name, True):
                self.remote.disk.pending[name] = sql
                self.remote.is_dirty = True
        seconds = document.get("accelerate")
        if isinstance(seconds, int) and not isinstance(seconds, bool):
            self._accelerated_until = self.remote.clock.now() + seconds

    async def _discover(self, discovery: object) -> dict[str, bool] | None:
        """Run the discovery queries: which names are selected; None when one of them fails."""
        selected = {}
        for name, sql in discovery.items() if isinstance(discovery, dict) else ():
            if not isinstance(sql, str) or not sql:
                return None
            result = await self.engine.run(self.view, sql)
            if result.error:
                return None
            selected[name] = bool(result.rows)
        return selected

    async def _run_pending(self) -> None:
        disk = self.remote.disk
        for name in sorted(disk.pending, key=lambda name: name.encode("utf-8", "replace")):
            sql = disk.pending.pop(name)
            self.remote.is_dirty = True
            self.results[name] = await self._answer(name, sql)

    async def _answer(self, name: str, sql: str) -> Answer:
        disk, digest = self.remote.disk, hashlib.sha256(sql.encode("utf-8", "replace")).hexdigest()
        if disk.denylist.get(digest, 0) > self.remote.clock.unix():
            return Answer([], 1, DENYLISTED, {})
        disk.running = sql
        self.carver.heed(sql)
        if sql in self.script.crashes_during_query:
            await self.remote.clock.sleep(self.script.crashes_during_query.pop(sql))
            raise WorkerCrashError(f"killed while it ran {name}")
        result = await self.engine.run(self.view, sql)
        disk.running = ""
        if result.error:
            said = f"Error executing distributed query: {name}: {result.error}"
            self.logger.say(ERROR, "distributed.cpp", 187, said)
        return Answer(result.text_rows(), int(bool(result.error)), result.error, _stats(result))

    async def _write(self, attempts: int) -> None:
        if self.script.crashes_before_answer > 0:
            self.script.crashes_before_answer -= 1
            raise WorkerCrashError("killed before it answered")
        answers = dict(self.results)
        members: dict[str, object] = {
            "queries": {name: answer.rows for name, answer in answers.items()},
            "statuses": {name: answer.status for name, answer in answers.items()},
            "messages": {name: answer.message for name, answer in answers.items()},
            "stats": {name: answer.stats for name, answer in answers.items()},
        }
        members = {name: _in_byte_order(value) for name, value in members.items()}
        verdict = await self.remote.ask_retrying(THREAD, WRITE, members, attempts)
        while verdict.is_success and self.script.answers_to_repeat > 0:
            self.script.answers_to_repeat -= 1
            await self.remote.ask(THREAD, WRITE, members)
        if verdict.is_success:
            self.answered += len(answers)
            self.results.clear()
            self.remote.changed.fire()

    def forget(self) -> None:
        """Lose what was only in memory; a query that was running when the worker died is denylisted."""
        self.results.clear()
        self._accelerated_until = float("-inf")
        disk = self.remote.disk
        if disk.running:
            until = self.remote.clock.unix() + self.remote.flags.number("distributed_denylist_duration")
            disk.denylist[hashlib.sha256(disk.running.encode("utf-8", "replace")).hexdigest()] = until
            disk.running = ""
            self.remote.is_dirty = True


def _stats(result: QueryResult) -> dict[str, int]:
    return {
        "wall_time_ms": result.wall_milliseconds,
        "user_time": result.cpu_milliseconds,
        "system_time": 0,
        "memory": 0,
    }


def _in_byte_order(members: object) -> object:
    if not isinstance(members, dict):
        return members
    return dict(sorted(members.items(), key=lambda item: str(item[0]).encode("utf-8", "replace")))

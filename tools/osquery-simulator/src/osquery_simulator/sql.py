"""Run SQL for any number of hosts on a few threads, read only and for a limited time."""

import asyncio
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from osquery_simulator import constraints, template
from osquery_simulator.clock import Clock
from osquery_simulator.overlay import View

Cell = str | int | float
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
STEPS_PER_CHECK = 20_000  # SQLite instructions between two looks at the clock


@dataclass(frozen=True)
class QueryResult:
    """Rows, or the error that SQLite gave, and what it cost."""

    rows: list[dict[str, Cell]] = field(default_factory=list)
    error: str = ""
    wall_milliseconds: int = 0
    cpu_milliseconds: int = 0

    def text_rows(self) -> list[dict[str, str]]:
        """Give the rows as osquery sends them: every value a text."""
        return [{name: str(value) for name, value in row.items()} for row in self.rows]


def cell(value: Cell | bytes | None) -> Cell:
    """Turn SQLite's value into osquery's: NULL is an empty text and a BLOB ends at its first NUL."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.split(b"\0", 1)[0].decode("utf-8", "replace")
    return value


class _Database:
    """One thread's connection to one profile."""

    def __init__(self, profile: str) -> None:
        self._tables = template.tables_of(profile)
        self._connection = template.open_database(profile)
        self._connection.set_authorizer(self._authorize)
        self._connection.set_progress_handler(self._is_over_time, STEPS_PER_CHECK)
        self._guarded = False
        self._deadline = float("inf")

    def _authorize(self, action: int, *_: str | None) -> int:
        return sqlite3.SQLITE_OK if not self._guarded or action in ALLOWED else sqlite3.SQLITE_DENY

    def _is_over_time(self) -> int:
        return int(time.monotonic() > self._deadline)

    def run(self, view: View, sql: str, limit_seconds: float) -> QueryResult:
        """Become the host, then run what it was asked."""
        missing = constraints.error_of(sql, self._tables)
        if missing:
            return QueryResult(error=missing)
        template.become(self._connection, view, sql)
        began, cpu_began = time.monotonic(), time.thread_time()
        self._guarded, self._deadline = True, began + limit_seconds
        rows: list[dict[str, Cell]] = []
        error = ""
        try:
            cursor = self._connection.execute(sql)
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, map(cell, values), strict=True)) for values in cursor]
        except (sqlite3.Error, sqlite3.Warning, UnicodeError) as failure:
            rows, error = [], str(failure) or type(failure).__name__
        finally:
            self._guarded, self._deadline = False, float("inf")
        wall, cpu = time.monotonic() - began, time.thread_time() - cpu_began
        return QueryResult(rows, error, int(wall * 1000), int(cpu * 1000))


class SqlEngine:
    """A bounded pool of threads, each with one database per profile."""

    def __init__(self, threads: int = 2, limit_seconds: float = 5.0, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sql")
        self._limit_seconds = limit_seconds
        self._own = threading.local()
        self._all: list[_Database] = []

    async def run(self, view: View, sql: str) -> QueryResult:
        """Run one statement as this host."""
        with self._clock.busy():
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, view, sql)

    def _run(self, view: View, sql: str) -> QueryResult:
        databases: dict[str, _Database] = self._own.__dict__.setdefault("databases", {})
        profile = view.profile.name
        if profile not in databases:
            databases[profile] = _Database(profile)
            self._all.append(databases[profile])
        return databases[profile].run(view, sql, self._limit_seconds)

    def close(self) -> None:
        """Wait for running queries, then free all databases."""
        self._pool.shutdown()
        self._all.clear()

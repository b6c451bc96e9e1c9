"""Reads people's SQL in processes of their own, so that no text can hang, bloat or crash this one.

A text may be `LONGEST_TEXT` characters long, and take the child's second and memory (`sql_child.py`); one that takes
more kills its child, and the next text starts another. What was read is remembered by its hash.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor

import structlog
from flotilla_common.errors import Unavailable

from admin_api.domain.sql_child import READ_SECONDS
from admin_api.domain.sql_facts import SqlFacts
from admin_api.metrics import SQL_READ

log = structlog.get_logger()

LONGEST_TEXT = 100_000  # characters
CHILDREN = 2
MOST_WAITING = 64  # texts; each waits at most half a minute
MOST_HOLDING = 6  # texts of callers who hold a connection to Postgres meanwhile, of which there are some 20
REMEMBERED = 2_000  # texts
REMEMBERED_CHARACTERS = 8_000_000  # of names and warnings, of all texts together
TOO_LONG = f"it is longer than {LONGEST_TEXT} characters"
TOO_HARD = f"it takes more than {READ_SECONDS:g} s, or too much memory, to read"


class _Lost(Exception):
    """The child ended before it answered."""


class _TooHard(_Lost):
    """It was its own timer that ended it."""


class _Child:
    """One process. It is given nothing of our environment: secrets stay here.

    Raises:
        _Lost: it does not come up.

    """

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-m", "admin_api.domain.sql_child"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})  # noqa: S603
        self.process_id = self._process.pid
        self._answer()

    def read(self, sql: str) -> SqlFacts:
        """Return what the SQL touches.

        Raises:
            _Lost: it ended before it answered; `_TooHard`, because of the SQL. It is closed.

        """
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # there will be no answer either
            self._process.stdin.write(json.dumps(sql).encode() + b"\n")
            self._process.stdin.flush()
        return _facts(json.loads(self._answer()))

    def _answer(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = self._process.stdout.readline()
        if line.endswith(b"\n"):
            return line
        ended_by = self.close()
        raise _TooHard if ended_by in {-signal.SIGPROF, -signal.SIGALRM} else _Lost

    def close(self) -> int:
        """End it and wait for that; return what ended it, minus the signal."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # what was written in vain
            self._process.stdin.close()
        self._process.stdout.close()  # the child, if it lives, has nothing to do but to end now
        return self._process.wait()


def _facts(answer: dict[str, object]) -> SqlFacts:
    unreadable = answer.pop("unreadable")
    lists = {name: tuple(map(str, names)) for name, names in answer.items() if isinstance(names, list)}
    return SqlFacts(unreadable=str(unreadable), **lists)


class SqlReader:
    """Reads SQL; `close` at the end."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CHILDREN, thread_name_prefix="sql-reader")
        self._idle: deque[_Child] = deque()
        self._known: OrderedDict[bytes, SqlFacts] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()
        self._waiting = 0

    async def read(self, sql: str, *, holding: bool = False) -> SqlFacts:
        """Return what SQL touches; `holding` callers keep something from others meanwhile, so they wait for few.

        Raises:
            Unavailable: too many texts are being read, or no process can be started.

        """
        if len(sql) > LONGEST_TEXT:
            SQL_READ.labels("too_long").inc()
            return SqlFacts(unreadable=TOO_LONG, warnings=(f"it was not checked: {TOO_LONG}",))
        key = hashlib.sha256(sql.encode("utf-8", "surrogatepass")).digest()
        known = self._remembered(key)
        if known is not None:
            SQL_READ.labels("remembered").inc()
            return known
        if self._waiting >= (MOST_HOLDING if holding else MOST_WAITING):
            SQL_READ.labels("turned_away").inc()
            raise Unavailable("too many queries are being checked now")
        self._waiting += 1
        try:
            facts = await asyncio.get_running_loop().run_in_executor(self._threads, self._read, sql)
        finally:
            self._waiting -= 1
        self._remember(key, facts)
        return facts

    def close(self) -> None:
        """End the processes; a text that is being read is read to its end first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def process_ids(self) -> list[int]:
        """Return the ids of the processes that wait for work."""
        return [child.process_id for child in self._idle]

    def _read(self, sql: str) -> SqlFacts:
        for _ in range(2):  # a child that somebody else ended says nothing about the SQL: once more
            try:
                child = self._spare() or _Child()
                facts = child.read(sql)
            except _TooHard:
                SQL_READ.labels("too_hard").inc()
                return SqlFacts(unreadable=TOO_HARD, warnings=(f"it was not checked: {TOO_HARD}",))
            except (_Lost, OSError) as error:
                SQL_READ.labels("lost").inc()
                log.warning("a process that reads SQL was lost", error=repr(error))
                continue
            self._idle.append(child)
            SQL_READ.labels("read").inc()
            return facts
        raise Unavailable("queries cannot be checked now")

    def _spare(self) -> _Child | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _remembered(self, key: bytes) -> SqlFacts | None:
        with self._lock:
            facts = self._known.get(key)
            if facts is not None:
                self._known.move_to_end(key)
            return facts

    def _remember(self, key: bytes, facts: SqlFacts) -> None:
        with self._lock:
            if key in self._known:
                return
            self._known[key] = facts
            self._characters += _size(facts)
            while len(self._known) > REMEMBERED or self._characters > REMEMBERED_CHARACTERS:
                self._characters -= _size(self._known.popitem(last=False)[1])


def _size(facts: SqlFacts) -> int:
    names = (*facts.tables, *facts.columns, *facts.functions, *facts.warnings)
    return len(facts.unreadable) + sum(len(name) for name in names)

"""Commit points of a live-query process: whatever it makes last outside of itself, found in its libraries.

A point is a Postgres COMMIT of a transaction that has written, a lease, a Redis command or pipeline that writes, a
NATS publish (bucket, object store, event, answer, ack, JetStream API), and an object put or deleted. Nothing in
live-query knows of this: `Points.watch` wraps the libraries' own functions, so a new place that commits is one, too.

A process reaches points one after the other, numbered from 1. Its plan says at which it ends by SIGKILL, and when:
`before` (nothing has left the process), `after` (the server has it and said so, where it says anything), or `half`
(of a pipeline the first half only).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

import obstore
from live_query.store.hot_rows import OLDEST
from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg._connection_base import BaseConnection
from psycopg.pq import TransactionStatus
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from sqlalchemy.ext.asyncio.session import _AsyncSessionContextManager

READS = frozenset(
    (
        "PING",
        "INFO",
        "MEMORY USAGE",
        "HGET",
        "HMGET",
        "XRANGE",
        "SCAN",
        "SCRIPT EXISTS",
        "SCRIPT LOAD",
        "CLIENT SETINFO",
    )
)
ASKS = tuple(
    f"$JS.API.{ask}"
    for ask in (
        "CONSUMER.MSG.NEXT.",  # what a pull brings is a matter of its acks
        "CONSUMER.INFO.",
        "CONSUMER.CREATE.KV_",  # to list a bucket; such a consumer goes by itself
        "CONSUMER.DELETE.KV_",
        "STREAM.INFO.",
        "STREAM.NAMES",
        "STREAM.MSG.GET.",
        "DIRECT.GET.",
        "INFO",
    )
)
"""Calls of JetStream's API that leave nothing behind."""
OLDEST_SHA = hashlib.sha1(OLDEST.encode()).hexdigest()  # the one script that only reads
START = ("NATS $JS.API.CONSUMER.DURABLE.CREATE", "Postgres lease")
"""Points of every start of a process."""
STILL_AT_WORK = b"+WPI"
_asking: ContextVar[bool] = ContextVar("asking", default=False)
_left_by: ContextVar[str] = ContextVar("left_by", default="")
"""Who leaves a transaction: SQLAlchemy commits in a task of its own."""


@dataclass(frozen=True)
class Plan:
    """Where to end: at a number, or (`covered` given) at the first place and stage that is not among those.

    With `started` points of the start have no numbers. Of `stages` a covering plan knows no others.
    """

    number: int = 0
    stage: str = "before"
    started: bool = False
    stages: tuple[str, ...] = ("before", "half", "after")
    covered: frozenset[tuple[str, str]] | None = None

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        covered = found.pop("covered")
        return cls(**found, covered=covered and frozenset((place, stage) for place, stage in covered))

    def to_json(self) -> str:
        covered = None if self.covered is None else [["", ""], *sorted(self.covered)]
        return json.dumps(asdict(self) | {"covered": covered})

    def ends(self, number: int, place: str, stage: str) -> bool:
        """Whether the process ends here."""
        if self.covered is not None:
            return stage in self.stages and (place, stage) not in self.covered
        return (number, stage) == (self.number, self.stage)


@dataclass
class Points:
    """Counts the points of this process and writes each into the file `log`, then ends it where the plan says."""

    plan: Plan
    log: int
    number: int = 0
    _unnumbered: int = 0
    _places: dict[int, str] = field(default_factory=dict)

    def reach(self, what: str) -> int:
        """Note that a point is next; return its number. `what` is the same for the same act on other campaigns."""
        place = f"{_plain(what)} < {_where()}"
        if self.plan.started and what.startswith(START):
            self._unnumbered -= 1
            number = self._unnumbered
        else:
            self.number += 1
            number = self.number
        self._places[number] = place
        self._pass(number, "before")
        return number

    def half(self, number: int) -> bool:
        """Whether only half of this point is to be done."""
        return self.plan.ends(number, self._places[number], "half")

    def done(self, number: int, stage: str = "after") -> None:
        """Note that it is done."""
        self._pass(number, stage)
        del self._places[number]

    def _pass(self, number: int, stage: str) -> None:
        place = self._places[number]
        ends = self.plan.ends(number, place, stage)
        os.write(
            self.log, (json.dumps({"number": number, "stage": stage, "place": place, "ends": ends}) + "\n").encode()
        )
        if ends:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Wrap the libraries."""
        _watch_postgres(self)
        _watch_redis(self)
        _watch_nats(self)
        _watch_blobs(self)


def _where() -> str:
    """Name the three innermost functions of the project that led here."""
    names: list[str] = []
    frame = sys._getframe(2)
    while frame is not None and len(names) < 3:
        package, _, module = frame.f_globals.get("__name__", "").partition(".")
        if package in ("live_query", "flotilla_common") and module not in ("__main__", "service"):
            names.append(f"{module.rpartition('.')[2]}.{frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(names) or _left_by.get()


def _plain(what: str) -> str:
    """Leave out what is another thing each time: inboxes, numbers, names of objects."""
    return re.sub(r"[0-9a-f]{40,}|[0-9]+", "#", re.sub(r"(_INBOX|TARGETS\.M)\..*", r"\1", what))


def _watch_postgres(points: Points) -> None:
    exec_command, execute = BaseConnection._exec_command, AsyncConnection.execute
    leave = _AsyncSessionContextManager.__aexit__

    def counted(self: Any, command: Any, *args: Any, **options: Any) -> Generator[Any, Any, Any]:
        if command != b"COMMIT" or self.pgconn.transaction_status != TransactionStatus.INTRANS:
            return (yield from exec_command(self, command, *args, **options))
        written = yield from exec_command(self, b"SELECT pg_current_xact_id_if_assigned()")
        if written.get_value(0, 0) is None:
            return (yield from exec_command(self, command, *args, **options))
        number = points.reach("Postgres COMMIT")
        result = yield from exec_command(self, command, *args, **options)
        points.done(number)
        return result

    async def with_lease(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        if "pg_try_advisory_lock" not in str(query):
            return await execute(self, query, *args, **options)
        number = points.reach("Postgres lease")
        result = await execute(self, query, *args, **options)
        points.done(number)
        return result

    async def left(self: Any, *args: Any) -> None:
        _left_by.set(_where())
        await leave(self, *args)

    _AsyncSessionContextManager.__aexit__ = left  # type: ignore[method-assign]
    BaseConnection._exec_command = counted  # type: ignore[method-assign]
    AsyncConnection.execute = with_lease  # type: ignore[method-assign]


def _watch_redis(points: Points) -> None:
    execute_command, execute = Redis.execute_command, Pipeline.execute

    async def counted(self: Any, *args: Any, **options: Any) -> Any:
        if str(args[0]) in READS or args[1:2] == (OLDEST_SHA,):
            return await execute_command(self, *args, **options)
        number = points.reach(f"Redis {args[0]}")
        result = await execute_command(self, *args, **options)
        points.done(number)
        return result

    async def together(self: Any, *args: Any, **options: Any) -> Any:
        names = [str(command[0][0]) for command in self.command_stack]
        if all(name in READS for name in names):
            return await execute(self, *args, **options)
        number = points.reach(f"Redis pipeline of {'/'.join(sorted(set(names)))}")
        if len(names) > 1 and points.half(number):
            del self.command_stack[len(names) // 2 :]
            await execute(self, *args, **options)
            points.done(number, "half")
        result = await execute(self, *args, **options)
        points.done(number)
        return result

    Redis.execute_command = counted  # type: ignore[method-assign]
    Pipeline.execute = together  # type: ignore[method-assign]


def _changes_nothing(subject: str, payload: bytes) -> bool:
    return payload == STILL_AT_WORK or subject.startswith(ASKS)


def _watch_nats(points: Points) -> None:
    request, send = Client.request, Client._send_publish

    async def asked(self: Any, subject: str, payload: bytes = b"", *args: Any, **options: Any) -> Any:
        if _changes_nothing(subject, payload):
            return await request(self, subject, payload, *args, **options)
        number = points.reach(f"NATS {subject}")
        token = _asking.set(True)
        try:
            reply = await request(self, subject, payload, *args, **options)
        finally:
            _asking.reset(token)
        points.done(number)
        return reply

    async def sent(self: Any, subject: str, reply: str, payload: bytes, *args: Any, **options: Any) -> None:
        if _asking.get() or _changes_nothing(subject, payload):
            return await send(self, subject, reply, payload, *args, **options)
        said = subject
        if subject.startswith("$JS.ACK."):
            said = f"{payload[:4].decode()} in {subject.split('.')[2]}"
        number = points.reach(f"NATS {said}")
        await send(self, subject, reply, payload, *args, **options)
        if points.plan.ends(number, points._places[number], "after"):
            _write_out(self)
        points.done(number)
        return None

    Client.request = asked  # type: ignore[method-assign]
    Client._send_publish = sent  # type: ignore[method-assign]


def _write_out(client: Any) -> None:
    """Have the kernel take all that this connection still has to say: it is sent although the process ends."""
    transport = client._transport._io_writer.transport
    buffered = transport._buffer  # one array of bytes, a queue of several from Python 3.12 on
    rest = bytes(buffered) if isinstance(buffered, bytearray) else b"".join(map(bytes, buffered))
    rest += b"".join(client._pending)
    to = transport.get_extra_info("socket").fileno()
    os.set_blocking(to, True)
    while rest:
        rest = rest[os.write(to, rest) :]


def _watch_blobs(points: Points) -> None:
    def counted(name: str) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(obstore, name)

        async def act(*args: Any, **options: Any) -> Any:
            number = points.reach(f"blob {name}")
            result = await real(*args, **options)
            points.done(number)
            return result

        setattr(obstore, name, act)

    names: Iterable[str] = ("put_async", "delete_async")
    for name in names:
        counted(name)

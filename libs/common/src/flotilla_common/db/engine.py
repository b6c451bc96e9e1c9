"""The async engine on psycopg 3, and what counts as an outage of Postgres."""

from __future__ import annotations

import select
import time
from functools import partial

import psycopg
import sqlalchemy.exc
from psycopg.errors import (
    DeadlockDetected,
    IdleInTransactionSessionTimeout,
    LockNotAvailable,
    ReadOnlySqlTransaction,
    SerializationFailure,
)
from sqlalchemy import URL, Dialect, ExceptionContext, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from flotilla_common.bus import outage
from flotilla_common.errors import Unavailable
from flotilla_common.settings import DatabaseSettings

outage.register(
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    ReadOnlySqlTransaction,
    IdleInTransactionSessionTimeout,
)
outage.register_contention(LockNotAvailable, DeadlockDetected, SerializationFailure)

STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
SILENT_TRANSACTION_MS = 60_000
TRUSTED_SECONDS = 1.0  # since a connection's last use
SESSION: dict[str, int | str] = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "lock_timeout": LOCK_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": SILENT_TRANSACTION_MS,
    "tcp_keepalives_idle": 30,  # s
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
    "timezone": "UTC",
}
"""The server's settings of every session: a client that is frozen or whose machine is gone holds nothing for long."""

CONNECTION: dict[str, int | str] = {
    "connect_timeout": 3,
    "tcp_user_timeout": 10_000,  # ms; a server whose host or network is gone is given up, not waited for
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "options": " ".join(f"-c {name}={value}" for name, value in SESSION.items()),
}
"""libpq's parameters of every connection, so that no wait for Postgres is without an end."""


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Return an engine whose connections are checked before use, so that a restarted Postgres costs nothing."""
    engine = create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        pool_timeout=5,
        hide_parameters=True,  # an error is logged: without the tokens, addresses and SQL that people sent
        connect_args={**CONNECTION, "application_name": settings.nats_user},
    )
    event.listen(engine.sync_engine, "handle_error", _notice_outage, retval=True)
    event.listen(engine.sync_engine, "checkin", _note_use)
    event.listen(engine.sync_engine, "checkout", partial(_check_before_use, engine.sync_engine.dialect))
    return engine


def _note_use(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _check_before_use(
    dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection
) -> None:
    """Find out whether a pooled connection still works: by a question only where it may not, which is a round trip.

    What the server has closed can be read from: its last words, or the end. A server whose machine or network is gone
    says nothing, so one that was not used for some time is asked in any case.

    Raises:
        InvalidatePoolError: it does not; the pool makes new ones.

    """
    now = time.monotonic()
    if now - record.info.get("used_at", now) < TRUSTED_SECONDS and not _has_something_to_read(connection):
        return
    try:
        dialect.do_ping(connection)
    except psycopg.Error as error:
        raise sqlalchemy.exc.InvalidatePoolError from error


def _has_something_to_read(connection: DBAPIConnection) -> bool:
    try:
        socket = connection.driver_connection.fileno()
    except psycopg.Error:  # it is closed on our side
        return True
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _notice_outage(context: ExceptionContext) -> Exception | None:
    """Take for an outage a refused write, and the end of a session that was frozen in a transaction.

    The first means that the pool leads to a server that is no longer the primary. Not all of SQLAlchemy's InternalError
    is one: a transaction used after its failure is a bug, which must not wait for ever.
    """
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        said = "Postgres is read-only"
    elif isinstance(context.original_exception, IdleInTransactionSessionTimeout):
        said = "Postgres ended a transaction in which nothing was said for long"
    else:
        return None
    context.is_disconnect = True  # the whole pool connects anew, to the primary of now
    return Unavailable(said)


async def connect_alone(url: str | URL) -> psycopg.AsyncConnection:
    """Open a connection outside any pool, autocommitting, for what lives as long as it. `url` is SQLAlchemy's."""
    parsed = make_url(url)
    _, parameters = parsed.get_dialect()().create_connect_args(parsed)
    parameters.update(CONNECTION, application_name=parsed.username or "", autocommit=True)
    return await psycopg.AsyncConnection.connect(**parameters)


def session_maker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return the maker of sessions; `async with sessions.begin() as session:` is one transaction."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def check(engine: AsyncEngine) -> str | None:
    """Readiness: does Postgres answer?."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return None

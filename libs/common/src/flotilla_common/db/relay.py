"""The relay: sends an owner's outbox in id order, one relay at a time, woken by NOTIFY.

A repeat after a crash carries the same `Nats-Msg-Id`; consumers are idempotent anyway.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import nats.js.errors
import psycopg
import structlog
from psycopg import sql

from flotilla_common.bus import outage
from flotilla_common.bus.connection import PUBLISH_TIMEOUT_SECONDS, Bus
from flotilla_common.cancellation import heed
from flotilla_common.db import leases
from flotilla_common.db.outbox import channel
from flotilla_common.settings import DatabaseSettings

log = structlog.get_logger()

BATCH = 500
WAKE_SECONDS = 5.0
RETRY_SECONDS = 0.5


async def relay(bus: Bus, settings: DatabaseSettings, owner: str, *, ready: asyncio.Event | None = None) -> None:
    """Send for ever (cancel to stop), through outages of Postgres and NATS. `ready` is set once the lease is held."""
    while True:
        try:
            async with leases.hold(settings.database_url.get_secret_value(), channel(owner)) as lease:
                connection = lease.connection
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel(owner))))
                if ready is not None:
                    ready.set()
                while True:
                    while await _send_batch(bus, connection, owner) == BATCH:
                        heed()
                    await _wait(connection)
                    heed()
        except outage.kinds(nats.js.errors.Error) as error:
            heed()
            log.warning("outbox waits", owner=owner, error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _wait(connection: psycopg.AsyncConnection) -> None:
    """Return when the owner's transactions notify, or after WAKE_SECONDS.

    The generator is run to its end: while it is only suspended psycopg keeps no notification for the next one.
    """
    async for _notification in connection.notifies(timeout=WAKE_SECONDS, stop_after=1):
        log.debug("outbox has something")


async def _send_batch(bus: Bus, connection: psycopg.AsyncConnection, owner: str) -> int:
    """Send up to BATCH rows; return how many. A row is deleted only after the stream's ack."""
    table = sql.Identifier(owner, "outbox")
    async with connection.transaction():
        cursor = await connection.execute(
            sql.SQL(
                "SELECT id, event_id, subject, body, trace FROM {} ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"
            ).format(table),
            (BATCH,),
        )
        rows = await cursor.fetchall()
        if rows:
            await _publish(bus, rows)
            await connection.execute(
                sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(table), ([row[0] for row in rows],)
            )
    return len(rows)


async def _publish(bus: Bus, rows: list[tuple[int, UUID, str, bytes, str | None]]) -> None:
    """Publish in order, pipelined; wait for all acks."""
    futures = [
        await bus.js.publish_async(subject, bytes(body), headers=_headers(event_id, trace))
        for _, event_id, subject, body, trace in rows
    ]
    async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS * 2):
        await asyncio.gather(*futures)


def _headers(event_id: UUID, trace: str | None) -> dict[str, str]:
    return {"Nats-Msg-Id": str(event_id), **({} if trace is None else {"traceparent": trace})}

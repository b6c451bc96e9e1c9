"""The outbox: an event is written in the transaction of its change, so it leaves if and only if the change stays."""

from __future__ import annotations

import importlib

from sqlalchemy import LargeBinary, Text, Uuid, cast, func, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from flotilla_common.bus.consumer import stream_of
from flotilla_common.contracts.base import Event
from flotilla_common.db.models.columns import OutboxRow
from flotilla_common.telemetry import trace_headers


def channel(owner: str) -> str:
    """Return the NOTIFY channel that wakes an owner's relay at commit."""
    return f"outbox_{owner}"


def table_of(owner: str) -> type[OutboxRow]:
    """Return the outbox table of a service, by its import name."""
    module = importlib.import_module(f"flotilla_common.db.models.{owner}")
    table: type[OutboxRow] = module.Outbox
    return table


async def add(session: AsyncSession, *events: Event) -> None:
    """Write events to the outbox of their stream's publisher, in the caller's transaction, and wake its relay.

    One statement, however many there are. They leave in the order given.
    """
    if not events:
        return
    owner = stream_of(events[0].subject).publisher
    rows = select(
        func.unnest(cast([event.event_id for event in events], ARRAY(Uuid))),
        func.unnest(cast([event.subject for event in events], ARRAY(Text))),
        func.unnest(cast([event.model_dump_json().encode() for event in events], ARRAY(LargeBinary))),
        literal(trace_headers().get("traceparent"), Text),
    )
    table = table_of(owner)
    added = insert(table).from_select(["event_id", "subject", "body", "trace"], rows).returning(col(table.id))
    await session.execute(select(func.pg_notify(channel(owner), "")).add_cte(added.cte("added")))

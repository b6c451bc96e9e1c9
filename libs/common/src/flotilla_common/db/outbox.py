"""The outbox: an event is written in the transaction of its change, so it leaves if and only if the change stays."""

from __future__ import annotations

import importlib

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

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
    """Write events to the outbox of their stream's publisher, in the caller's transaction."""
    if not events:
        return
    owner = stream_of(events[0].subject).publisher
    trace = trace_headers().get("traceparent")
    rows = [
        {"event_id": event.event_id, "subject": event.subject, "body": event.model_dump_json().encode(), "trace": trace}
        for event in events
    ]
    await session.execute(insert(table_of(owner)), rows)
    await session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel(owner)})

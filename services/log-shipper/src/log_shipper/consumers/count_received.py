"""LOGS, headers only: add received lines to every destination's books, once, before they can be purged.

Idempotent: lines and the intake's cursor move in one transaction, under the intake row's lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.db.leases import Lease
from flotilla_common.errors import LeaseLost

from log_shipper.deps import Deps
from log_shipper.domain.rewinding import Mark, place_of
from log_shipper.store import destinations, leases, ledger
from log_shipper.store.stream import OUTAGES, LogReader, StoredMessage, state

log = structlog.get_logger()

IDLE_SECONDS = 2.0
LINGER_SECONDS = 0.25
MOST_MESSAGES = 5_000
RETRY_SECONDS = 1.0


async def count_received(deps: Deps) -> None:
    """Count for ever (cancel to stop), through outages; one replica at a time."""
    while True:
        try:
            async with leases.hold(deps.engine, "intake") as lease:
                await _run(deps, lease)
        except (*outage.kinds(), *OUTAGES) as error:
            heed()
            log.warning("intake waits", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _run(deps: Deps, lease: Lease) -> None:
    reader = LogReader(deps.bus, headers_only=True)
    try:
        cursor = await _place(deps)
        await reader.seek(cursor + 1)
        while True:
            messages = await _collect(reader)
            await lease.confirm()
            if messages:
                cursor = await _add(deps, cursor, messages)
    finally:
        await reader.close()


async def _place(deps: Deps) -> int:
    """Return the intake's cursor, moved back when the stream is not the one it was."""
    found = await state(deps.bus)
    async with deps.sessions.begin() as session:
        row = await destinations.intake_place(session)
        cursor, created_at = row.cursor_sequence, row.stream_created_at
        target = await place_of(deps.bus, found, Mark(cursor, created_at, row.cursor_stored_at))
        if target is not None:
            log.error("the stream is not the one it was, intake moved", cursor=cursor, to=target)
        if target is not None or created_at is None:
            cursor = cursor if target is None else target
            await destinations.place_intake_anew(session, cursor, found.created_at)
    return cursor


async def _collect(reader: LogReader) -> list[StoredMessage]:
    messages: list[StoredMessage] = []
    deadline = 0.0
    while len(messages) < MOST_MESSAGES:
        message = await reader.next(deadline - time.monotonic() if messages else IDLE_SECONDS)
        if message is None:
            break
        if not messages:
            deadline = time.monotonic() + LINGER_SECONDS
        messages.append(message)
    return messages


async def _add(deps: Deps, cursor: int, messages: list[StoredMessage]) -> int:
    """Write the books up to the last message; return its sequence."""
    async with deps.sessions.begin() as session:
        intake = await destinations.intake_place(session)
        if intake.cursor_sequence != cursor:
            raise LeaseLost(f"intake: the cursor stands at {intake.cursor_sequence}, not at {cursor}")
        places = await destinations.places(session)
        whole = _tally(messages)
        for name, place in sorted(places.items()):
            if place.until is None:
                await ledger.add(session, name, whole)
            elif place.until > cursor and not place.is_over_in(intake.stream_created_at):
                await ledger.add(session, name, _tally([one for one in messages if place.is_for(one.sequence)]))
        await destinations.move_intake(session, messages[-1].sequence, messages[-1].stored_at)
    return messages[-1].sequence


def _tally(messages: Iterable[StoredMessage]) -> ledger.Tally:
    tally = ledger.Tally()
    for message in messages:
        tally.add(message.log_type, message.hour, "received", message.lines)
    return tally

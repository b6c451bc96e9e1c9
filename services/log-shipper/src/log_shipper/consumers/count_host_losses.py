"""LOGS, status lines: add up what hosts say that they threw away, before that can be purged.

Idempotent: sums and this reader's cursor move in one transaction, under the cursor's lock; and what a host says twice
counts once.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.db.leases import Lease
from flotilla_common.errors import LeaseLost

from log_shipper.deps import Deps
from log_shipper.domain.host_losses import Loss, Lost, by_host, losses_in
from log_shipper.domain.messages import open_message
from log_shipper.domain.rewinding import rewind_to
from log_shipper.errors import BadManifest
from log_shipper.store import host_losses, leases, readers
from log_shipper.store.readers import HOST_LOSSES
from log_shipper.store.stream import OUTAGES, LogReader, state

log = structlog.get_logger()

SUBJECT = "logs.status.>"
IDLE_SECONDS = 1.0
LINGER_SECONDS = 0.25
MOST_MESSAGES = 2_000
MOST_LOSSES = 50_000
RETRY_SECONDS = 1.0


@dataclass
class Found:
    """What stood in some messages. `last`: the sequence of the last of them; None: there was none."""

    losses: list[Loss] = field(default_factory=list)
    last: int | None = None


async def count_host_losses(deps: Deps) -> None:
    """Count for ever (cancel to stop), through outages; one replica at a time."""
    while True:
        try:
            async with leases.hold(deps.engine, HOST_LOSSES) as lease:
                await _run(deps, lease)
        except (*outage.kinds(), *OUTAGES) as error:
            heed()
            log.warning("counting of host losses waits", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def _run(deps: Deps, lease: Lease) -> None:
    reader = LogReader(deps.bus, subject=SUBJECT)
    try:
        cursor = await _place(deps)
        await reader.seek(cursor + 1)
        while True:
            end = (await state(deps.bus)).last_sequence
            found = await _collect(reader)
            await lease.confirm()
            if found.last is not None:
                cursor = await _add(deps, cursor, found.last, found.losses)
            elif end > cursor and await reader.is_at_end():  # the rest are no status lines, and may be purged
                cursor = await _add(deps, cursor, end, [])
    finally:
        await reader.close()


async def _place(deps: Deps) -> int:
    """Return the cursor, moved when the stream is not the one it was."""
    found = await state(deps.bus)
    async with deps.sessions.begin() as session:
        cursor, created_at = await readers.lock(session, HOST_LOSSES)
        target = rewind_to(found, cursor, created_at)
        if target is not None or created_at is None:
            cursor = cursor if target is None else target
            await readers.move(session, HOST_LOSSES, cursor, found.created_at)
    return cursor


async def _collect(reader: LogReader) -> Found:
    """Read what there is, for a moment; only warnings are kept of it."""
    found = Found()
    deadline = time.monotonic() + IDLE_SECONDS
    for number in range(MOST_MESSAGES):
        message = await reader.next(deadline - time.monotonic())
        if message is None:
            break
        if not number:
            deadline = time.monotonic() + LINGER_SECONDS
        found.last = message.sequence
        try:
            found.losses += losses_in(open_message(message))
        except BadManifest:
            continue  # every destination has it as a dead letter
        if len(found.losses) > MOST_LOSSES:
            break
    return found


async def _add(deps: Deps, cursor: int, last: int, losses: list[Loss]) -> int:
    """Write what was found up to a sequence; return that."""
    async with deps.sessions.begin() as session:
        standing, _ = await readers.lock(session, HOST_LOSSES)
        if standing != cursor:
            raise LeaseLost(f"{HOST_LOSSES}: the cursor stands at {standing}, not at {cursor}")
        for key, said in by_host(losses).items():
            row = await host_losses.find(session, *key)
            lost = Lost() if row is None else Lost(row.lines, row.warnings, dict(row.marks))
            for loss in said:
                lost = lost.after(loss)
            marks = [list(mark) for mark in lost.marks.items()]
            await host_losses.put(session, key, lost.lines, lost.warnings, marks, said[-1].at)
        await readers.move(session, HOST_LOSSES, last)
    return last

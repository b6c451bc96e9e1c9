"""Host-side losses: counted from status lines once, whatever happens, and held in the stream until then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.log_ledger import LogLedgerV1
from flotilla_common.contracts.logs import Manifest, Segment
from flotilla_common.db.models.log_shipper import HostLoss
from flotilla_common.errors import LeaseLost
from flotilla_common.testing import eventually
from log_shipper import metrics
from log_shipper.consumers import answer_ledger
from log_shipper.consumers import count_host_losses as counting
from log_shipper.consumers.count_received import count_received
from log_shipper.consumers.purge import purge_once
from log_shipper.domain.host_losses import Loss
from log_shipper.domain.spilling import Keeping
from log_shipper.store import destinations, readers
from log_shipper.store.readers import HOST_LOSSES
from log_shipper.store.stream import state
from prometheus_client import REGISTRY
from sqlalchemy import select

from ..conftest import balanced, to_file


def purge_of(lines: int, second: int) -> bytes:
    message = f"Purging buffered logs limit (100) exceeded: {100 + lines}"
    return json.dumps({"unixTime": second, "severity": 1, "filename": "buffered.cpp", "message": message}).encode()


async def rows(deps) -> dict[tuple[int, str], tuple[int, int]]:
    async with deps.sessions.begin() as session:
        found = (await session.execute(select(HostLoss))).scalars()
        return {(row.host_id, row.kind): (row.lines, row.warnings) for row in found}


async def cursor(deps) -> int:
    async with deps.sessions.begin() as session:
        return (await readers.place(session, HOST_LOSSES))[0]


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do the work for as long as the context is open."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_losses_are_added_up_and_shown(gateway, deps, shipping, directory):
    async with shipping(deps, to_file(directory)):
        await gateway.send()
        await gateway.send_lines([b'{"message":"hello"}', purge_of(5, 1)], "status")
        await gateway.send_lines([purge_of(7, 2), purge_of(5, 1)], "status")
        await eventually(lambda: rows(deps))
        await eventually(lambda: has_read_all(deps))
        answer = await answer_ledger.answer(LogLedgerV1(), deps)

    assert await rows(deps) == {(7, "purged"): (12, 2)}
    assert answer.host_losses.model_dump() == {"lines": 12, "warnings": 2, "hosts": 1}


async def has_read_all(deps) -> bool:
    return await cursor(deps) == (await state(deps.bus)).last_sequence


async def test_the_books_do_not_have_what_hosts_lost(gateway, deps, shipping, directory):
    async with shipping(deps, to_file(directory)):
        await gateway.send_lines([purge_of(5, 1)], "status")
        await eventually(lambda: rows(deps))
        books = await balanced(deps)

    assert books["file", "status"].received == 1


async def test_metrics_have_kinds_but_no_hosts(gateway, deps):
    async with running(counting.count_host_losses(deps)):
        await gateway.send_lines([purge_of(5, 1)], "status")
        await eventually(lambda: rows(deps))
    async with running(metrics.publish(deps)):
        await eventually(lambda: REGISTRY.get_sample_value("flotilla_log_host_lost_lines", {"kind": "purged"}) == 5)

    assert REGISTRY.get_sample_value("flotilla_log_hosts_with_losses", {"kind": "purged"}) == 1


async def test_a_restart_counts_nothing_twice(gateway, deps):
    for number in range(3):
        async with running(counting.count_host_losses(deps)):
            await gateway.send_lines([purge_of(5, number)], "status")
            await eventually(lambda: has_read_all(deps))

    assert await rows(deps) == {(7, "purged"): (15, 3)}


async def test_a_replica_that_lost_its_lease_adds_nothing(gateway, deps):
    await gateway.send_lines([purge_of(5, 1)], "status")
    async with running(counting.count_host_losses(deps)):
        await eventually(lambda: has_read_all(deps))

    with pytest.raises(LeaseLost):
        await counting._add(deps, 0, 1, [Loss(7, "purged", 5, "1", utc_now())])

    assert await rows(deps) == {(7, "purged"): (5, 1)}


async def test_messages_that_make_no_sense_are_passed_over(gateway, deps):
    await gateway.send_raw(b"no manifest", "1", "status")
    odd = msgspec.json.encode(Manifest(1, "status", [Segment(8, 0, 0, 2, 9)])) + b"\nPurging buffered logs limit\n"
    await gateway.send_raw(odd, "2", "status")
    await gateway.send_lines([purge_of(5, 1)], "status")
    async with running(counting.count_host_losses(deps)):
        await eventually(lambda: has_read_all(deps))

    assert await rows(deps) == {(7, "purged"): (5, 1)}


async def test_status_lines_are_not_purged_before_they_are_read(gateway, deps):
    await gateway.send_lines([purge_of(5, 1)], "status")
    await gateway.send("result", messages=20)
    async with running(count_received(deps)):
        await eventually(lambda: intake_is_done(deps))
    await purge_once(deps, Keeping(0.0))
    held = (await state(deps.bus)).first_sequence
    async with running(counting.count_host_losses(deps)):
        await eventually(lambda: has_read_all(deps))
    await purge_once(deps, Keeping(0.0))

    assert (held, (await state(deps.bus)).first_sequence) == (1, 22)
    assert await rows(deps) == {(7, "purged"): (5, 1)}


async def intake_is_done(deps) -> bool:
    async with deps.sessions.begin() as session:
        return await destinations.intake(session) == (await state(deps.bus)).last_sequence


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(gateway, deps, remake_streams):
    async with running(counting.count_host_losses(deps)):
        await gateway.send("result", messages=5)
        await gateway.send_lines([purge_of(5, 1)], "status")
        await eventually(lambda: has_read_all(deps))
    await remake_streams()
    await gateway.send_lines([purge_of(6, 2)], "status")
    async with running(counting.count_host_losses(deps)):
        await eventually(lambda: has_read_all(deps))

    assert await rows(deps) == {(7, "purged"): (11, 2)}

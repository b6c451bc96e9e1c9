"""Faults of what log-shipper stands on: everything resumes by itself, no line is lost or doubled."""

from __future__ import annotations

import pytest
from flotilla_common.testing import eventually
from log_shipper.consumers import drain as drain_module
from log_shipper.sinks.file import FileSink

from .conftest import WatchedSink, balanced, lines_in


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(drain_module, "LONGEST_DELAY_SECONDS", 0.5)


async def is_settled(deps, lines: int) -> bool:
    entry = (await balanced(deps))["file", "result"]
    return (entry.received, entry.delivered, entry.pending) == (lines, lines, 0)


async def test_nats_is_stopped_and_started_again(gateway, deps, shipping, directory, nats_server):
    async with shipping(deps, FileSink(directory)):
        await gateway.send(messages=5)
        await eventually(lambda: len(lines_in(directory)) == 15)
        nats_server.running.stop()
        nats_server.running.start()
        await gateway.send(messages=5)
        await eventually(lambda: is_settled(deps, 30), timeout=30.0)

    assert lines_in(directory) == gateway.sent["result"]


async def test_every_database_connection_is_cut_in_the_middle_of_deliveries(
    gateway, deps, shipping, directory, database
):
    sink = WatchedSink(FileSink(directory))
    cuts = 0

    async with shipping(deps, sink):
        for cuts in range(1, 4):
            await gateway.send(messages=10)
            await eventually(lambda least=cuts: len(sink.batches) >= least)
            await database.cut_connections("log_shipper")
        await eventually(lambda: is_settled(deps, 90), timeout=30.0)

    assert cuts == 3
    assert lines_in(directory) == gateway.sent["result"]

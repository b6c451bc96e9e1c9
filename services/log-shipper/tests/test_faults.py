"""Faults of what log-shipper stands on: everything resumes by itself, no line is lost or doubled."""

from __future__ import annotations

from flotilla_common.testing import eventually

from .conftest import balanced, lines_in, to_file


async def is_settled(deps, lines: int) -> bool:
    entry = (await balanced(deps))["file", "result"]
    return (entry.received, entry.delivered, entry.pending) == (lines, lines, 0)


async def test_nats_is_stopped_and_started_again(gateway, deps, shipping, directory, nats_server):
    async with shipping(deps, to_file(directory)):
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
    sink = to_file(directory)
    cuts = 0

    async with shipping(deps, sink):
        for cuts in range(1, 4):
            await gateway.send(messages=10)
            await eventually(lambda least=cuts: len(sink.batches) >= least)
            await database.cut_connections("log_shipper")
        await eventually(lambda: is_settled(deps, 90), timeout=30.0)

    assert cuts == 3
    assert lines_in(directory) == gateway.sent["result"]

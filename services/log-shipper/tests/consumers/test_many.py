"""Any number of destinations: each has a lease, none needs a connection that others work with."""

from __future__ import annotations

from flotilla_common.testing import eventually

from ..conftest import lines_in, to_file

MANY = 24  # more than an engine's pool has connections


async def test_there_may_be_more_destinations_than_pooled_connections(gateway, deps, shipping, directory):
    sinks = [to_file(directory / str(number), name=f"file{number}") for number in range(MANY)]
    async with shipping(deps, *sinks):
        await gateway.send()

        async def all_have_it() -> bool:
            return all(lines_in(directory / str(number)) == gateway.sent["result"] for number in range(MANY))

        await eventually(all_have_it, timeout=20.0)

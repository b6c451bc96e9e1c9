"""What several of these tests begin with."""

from __future__ import annotations

import pytest

from ..carving import BEGIN, Carver
from ..conftest import BusFor, House


@pytest.fixture
async def carver(house: House, bus_for: BusFor) -> Carver:
    key = house.inventory.add_host(7)
    reply = await house.post("carve/begin", BEGIN | {"node_key": key})
    return Carver(house, bus_for, key, reply.json()["session_id"])

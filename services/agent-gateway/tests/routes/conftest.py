"""What several of these tests begin with."""

from __future__ import annotations

import pytest
from flotilla_common.testing import eventually

from ..carving import BEGIN, Carver
from ..conftest import BusFor, House


@pytest.fixture
async def carver(house: House, bus_for: BusFor) -> Carver:
    key = house.inventory.add_host(7)

    async def begun() -> str | None:
        return (await house.post("carve/begin", BEGIN | {"node_key": key})).json().get("session_id")

    return Carver(house, bus_for, key, await eventually(begun))

"""A host that carves, for the tests of both."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
from flotilla_common.contracts.carves import STREAM, CarvePart

from .conftest import BusFor, House

REQUEST_ID = "fleet_distributed_query_9_1_abc"
BEGIN = {
    "block_count": 3,
    "block_size": 300_000,
    "carve_size": 700_123,
    "carve_id": "2b0c5a66-7b0e-4f66-9d10-5f4b2f5b8c31",
    "request_id": REQUEST_ID,
}
SUCCESS = {"success": True}


@dataclass
class Carver:
    """A host with a carve that has begun."""

    house: House
    bus_for: BusFor
    key: str
    session_id: str

    async def send(self, block_id: Any, data: Any, **members: Any) -> httpx2.Response:
        text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
        headers = members.pop("headers", None)
        body = {"block_id": block_id, "session_id": self.session_id, "request_id": REQUEST_ID, "data": text} | members
        return await self.house.post("carve/block", body, headers=headers)

    async def stored(self) -> list[CarvePart]:
        """What is in the stream."""
        bus = await self.bus_for("live_query")
        state = (await bus.js.stream_info(STREAM)).state
        found = [await bus.js.get_msg(STREAM, number) for number in range(max(1, state.first_seq), state.last_seq + 1)]
        return [msgspec.msgpack.decode(message.data or b"", type=CarvePart) for message in found]

"""A host that carves, as live-query sees it: begins by request, blocks by stream CARVES."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import msgspec
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.campaigns import CampaignStartedV1
from flotilla_common.contracts.carves import SUBJECT, VERSION, BeginCarveV1, CarvePart
from flotilla_common.db.models.live_query import Carve, CarveBlock
from flotilla_common.testing.database import Database

SQL = "SELECT * FROM carves WHERE carve = 1 AND path = '/etc/hosts'"
BLOCK = 100
Start = Callable[..., Awaitable[CampaignStartedV1]]


def begin(host_id: int, request_id: str, size: int = 250, **members: object) -> BeginCarveV1:
    """What a gateway asks when a host begins a carve of so many bytes, in blocks of BLOCK."""
    usual = {
        "host_id": host_id,
        "carve_guid": "guid-1",
        "request_id": request_id,
        "block_count": -(-size // BLOCK),
        "block_size": BLOCK,
        "carve_size": size,
    }
    return BeginCarveV1.model_validate(usual | members)


def query_name(campaign_id: int) -> str:
    """The name under which hosts get a campaign's query."""
    return f"fleet_distributed_query_{campaign_id}_1_0af7651916cd43dd8448eb211c80319c"


def part_of(carve_id: int, host_id: int, block_id: int, data: bytes, **members: object) -> CarvePart:
    """A block in one message."""
    part = CarvePart(
        v=VERSION,
        carve_id=carve_id,
        host_id=host_id,
        block_id=block_id,
        block_size=len(data),
        block_sha256=hashlib.sha256(data).digest(),
        data=data,
    )
    return msgspec.structs.replace(part, **members)


def cut(data: bytes) -> list[bytes]:
    """Blocks as osqueryd cuts them."""
    return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]


@dataclass
class Carving:
    """Begins carves and sends blocks over the gateway's bus; looks at the tables."""

    bus: Bus
    database: Database

    async def begin(self, host_id: int, request_id: str, size: int = 250, **members: object) -> str:
        """Begin; return the session id."""
        begun = await self.bus.request(begin(host_id, request_id, size, **members))
        return begun.session_id.get_secret_value()

    async def send(self, *parts: CarvePart) -> None:
        """Put parts into the stream."""
        for part in parts:
            await self.publish(msgspec.msgpack.encode(part))

    async def publish(self, body: bytes) -> None:
        await self.bus.js.publish(SUBJECT, body, headers={"Nats-Msg-Id": uuid4().hex})

    async def carves(self) -> list[Carve]:
        return sorted(await self.database.rows(Carve), key=lambda carve: carve.id or 0)

    async def only(self) -> Carve:
        [carve] = await self.carves()
        return carve

    async def blocks(self) -> list[CarveBlock]:
        return sorted(await self.database.rows(CarveBlock), key=lambda block: block.block_id)

    async def is_complete(self) -> bool:
        return all(carve.completed_at for carve in await self.carves())

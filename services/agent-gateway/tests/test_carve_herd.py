"""A fleet that was asked for a file begins at the same full minute: all of it ends in the blob store.

The gateway is in this process, on a real bus; live-query is its real process on real Postgres, Redis and S3.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from agent_gateway.app import create_app
from agent_gateway.deps import Deps
from agent_gateway.domain.gateway import Gateway
from agent_gateway.routes.door import Door
from agent_gateway.wiring import build_gateway
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.contracts import plans
from flotilla_common.contracts.carves import part_object
from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import Campaign, Carve, CarveBlock, LedgerRow
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import running_service
from sqlalchemy import func, select
from sqlmodel import col

HOSTS = 1000
BOUND_SECONDS = 200.0  # for all of them, on a busy machine
BLOCKS = 2
BLOCK = 3000
POLL_SECONDS = 5.0
CAMPAIGN = 1


@dataclass
class Front:
    """A gateway, called as its server calls it, and the keys of its hosts by id."""

    gateway: Gateway
    door: Door
    keys: dict[int, str]

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        path = f"/api/v1/osquery/{path}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "https",
            "headers": [(b"content-type", b"application/json")],
            "client": ("192.0.2.1", 4711),
            "server": ("gateway", 443),
        }
        sent = [{"type": "http.request", "body": msgspec.json.encode(body), "more_body": False}]
        answer = b""

        async def receive() -> dict[str, Any]:
            return sent.pop() if sent else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: dict[str, Any]) -> None:
            nonlocal answer
            answer += message.get("body", b"")

        await self.door(scope, receive, send)  # type: ignore[arg-type]
        return answer

    async def carve(self, host_id: int) -> bool:
        """Carve as osqueryd does; False when the begin was refused."""
        content = content_of(host_id)
        begin = {
            "block_count": BLOCKS,
            "block_size": BLOCK,
            "carve_size": len(content),
            "carve_id": f"carve-{host_id}",
            "request_id": f"fleet_distributed_query_{CAMPAIGN}_1",
            "node_key": self.keys[host_id],
        }
        begun = msgspec.json.decode(await self.post("carve/begin", begin))
        if "session_id" not in begun:
            assert begun == {"error": "unavailable"}
            return False
        for number in range(BLOCKS):
            block = {
                "block_id": number,
                "session_id": begun["session_id"],
                "request_id": begin["request_id"],
                "data": base64.b64encode(content[number * BLOCK : (number + 1) * BLOCK]).decode(),
            }
            answers = [await self.post("carve/block", block) for _ in range(1 + host_id % 2)]  # some repeat it
            assert answers[-1] == b'{"success":true}'
        return True


def content_of(host_id: int) -> bytes:
    """A file of a host: a full block and a shorter one."""
    return (b"file of host %d\n" % host_id * BLOCK)[: BLOCK + 500]


@pytest.fixture
async def front(bus_for, database, service_environment, tmp_path) -> AsyncIterator[Front]:
    signing = Ed25519PrivateKey.generate()
    path = tmp_path / "signing.key"
    path.write_bytes(signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    now = datetime.now(UTC)
    hosts = [
        Host(revision=number, host_identifier=f"h-{number}", hostname=f"h-{number}", last_enrolled_at=now)
        for number in range(1, HOSTS + 1)
    ]
    await database.add(*hosts)
    ids = [host.id or 0 for host in hosts]
    await database.add(
        Campaign(
            id=CAMPAIGN,
            sql="SELECT * FROM carves WHERE carve = 1 AND path = '/etc/hosts'",
            kind="durable",
            user_id=1,
            command=b"",
            target_count=HOSTS,
            deadline=now + timedelta(hours=1),
        ),
        *(LedgerRow(campaign_id=CAMPAIGN, host_id=host_id) for host_id in ids),
    )
    bus = await bus_for("agent_gateway")
    custody = CustodyPublisher(bus)
    await custody.open()
    gateway = build_gateway(bus, custody, await open_bucket(bus, plans.BUCKET), [signing.public_key()])
    keys = {host_id: new_node_key() for host_id in ids}
    for host_id, key in keys.items():
        gateway.hosts.put(HostRecord(host_id=host_id, revision=host_id, node_key_hash=hash_node_key(key).hex()))
    environment = {**service_environment("live_query"), "FLOTILLA_SIGNING_KEY_FILE": str(path)}
    async with running_service("live_query", environment=environment) as live_query:
        await live_query.ready()
        heartbeat = asyncio.create_task(bus.heartbeat())
        yield Front(gateway, create_app(Deps(gateway)), keys)
        heartbeat.cancel()
        await asyncio.gather(heartbeat, return_exceptions=True)
        await gateway.close()


async def poll(front: Front, done: asyncio.Event) -> list[float]:
    """Poll as an idle host does until then; return how long each poll took."""
    took = []
    while not done.is_set():
        began = time.monotonic()
        answer = await front.post("distributed/read", {"node_key": front.keys[next(iter(front.keys))]})
        assert answer.startswith(b'{"queries":{}')
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    return took


@pytest.mark.timeout(480)
async def test_a_thousand_carves_that_begin_at_once_are_all_stored_while_polls_go_on(front, database, blobs):
    done = asyncio.Event()
    polls = asyncio.create_task(poll(front, done))
    waiting = list(front.keys)
    async with asyncio.timeout(BOUND_SECONDS):
        while waiting:  # whoever finds too many before it is asked for the file again
            has_begun = await asyncio.gather(*(front.carve(host_id) for host_id in waiting))
            waiting = [host_id for host_id, begun in zip(waiting, has_begun, strict=True) if not begun]
    done.set()

    async def all_complete() -> bool:
        async with database.sessions()() as session:
            return await session.scalar(select(func.count(col(Carve.completed_at)))) == HOSTS

    await eventually(all_complete, timeout=240.0)
    carves, blocks = await database.rows(Carve), await database.rows(CarveBlock)
    by_carve = {carve.id: carve for carve in carves}
    assert sorted(carve.host_id for carve in carves) == sorted(front.keys)
    assert {(carve.blocks_stored, carve.max_block, carve.error) for carve in carves} == {(2, 1, None)}
    assert len(blocks) == HOSTS * BLOCKS
    for block in blocks[:: HOSTS // 20]:
        content = content_of(by_carve[block.carve_id].host_id)
        stored = await blobs.get(part_object(block.carve_id, block.block_id, bytes(block.sha256), 0))
        assert stored == content[block.block_id * BLOCK : (block.block_id + 1) * BLOCK]
    assert max(await polls) < POLL_SECONDS
    assert front.gateway.memory.used == 0

"""Stand-ins for the services that a gateway asks, each as its own user of the bus, in a thread with its own loop.

They answer what the real ones would about the synthetic fleet; what they cost is not the gateway's.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.objects import open_objects
from flotilla_common.contracts import campaigns, plans
from flotilla_common.contracts.campaigns import CampaignCommand, command_key, encode_command
from flotilla_common.contracts.hosts import NodeKeysResolvedV1, ResolveNodeKeysV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.contracts.plans import PlanHead, RenderPlanV1, class_key, config_key, head_key
from flotilla_common.settings import CommonSettings
from pyroaring import BitMap

from bench.fleet import host_id, node_key, record

T = TypeVar("T")

CAMPAIGN_SECONDS = 3600.0
CALL_SECONDS = 120.0
SQL = "SELECT pid, name, path, cmdline, state, cwd, root, uid, gid, parent FROM processes LIMIT 10;"


class Neighbours:
    """inventory, config-merger and live-query. Call its methods from any other thread."""

    def __init__(self, settings: dict[str, CommonSettings], signing_key: Path, config: bytes, known: int) -> None:
        self._settings = settings
        key = load_pem_private_key(signing_key.read_bytes(), None)
        self._key = cast("Ed25519PrivateKey", key)
        self._config = config
        self._known = known
        self._numbers: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._responding: list[asyncio.Task[None]] = []
        self._buses: list[Bus] = []

    @property
    def etag(self) -> str:
        """The etag of the one config."""
        return hashlib.sha256(self._config).hexdigest()[:16]

    def start(self) -> None:
        """Connect and answer."""
        self._thread.start()
        self._call(self._start())

    def stop(self) -> None:
        """Stop answering."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start_campaigns(self, targets_by_id: Mapping[int, Sequence[int]]) -> None:
        """Sign and publish commands; targets are numbers of hosts."""
        sets: dict[int, BitMap] = {}  # by identity: many campaigns have the same targets
        for targets in targets_by_id.values():
            if id(targets) not in sets:
                sets[id(targets)] = BitMap(map(host_id, targets))
        self._call(self._start_campaigns({number: sets[id(targets)] for number, targets in targets_by_id.items()}))

    def end_campaigns(self, campaign_ids: Iterable[int]) -> None:
        """End campaigns."""
        self._call(self._end_campaigns(list(campaign_ids)))

    def as_service(self, service: str, work: Callable[[Bus], Coroutine[Any, Any, T]]) -> T:
        """Do something on the bus with a service's own rights."""
        return self._call(self._as_service(service, work))

    async def _as_service(self, service: str, work: Callable[[Bus], Coroutine[Any, Any, T]]) -> T:
        bus = await connect(self._settings[service])
        try:
            return await work(bus)
        finally:
            await bus.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _start(self) -> None:
        inventory, merger, live_query = [
            await self._connect(name) for name in ("inventory", "config_merger", "live_query")
        ]
        self._plans = await open_bucket(merger, plans.BUCKET)
        self._campaigns = await open_bucket(live_query, campaigns.BUCKET)
        self._objects = await open_objects(live_query, campaigns.STORE)
        await self._answer(inventory, Responder(ResolveNodeKeysV1, self._resolve))
        await self._answer(merger, Responder(RenderPlanV1, self._render))

    async def _connect(self, service: str) -> Bus:
        bus = await connect(self._settings[service])
        self._buses.append(bus)
        return bus

    async def _answer(self, bus: Bus, responder: Responder[Any, None]) -> None:
        ready = asyncio.Event()
        self._responding.append(self._loop.create_task(respond(bus, responder, None, ready=ready)))
        await ready.wait()

    async def _stop(self) -> None:
        for task in self._responding:
            task.cancel()
        await asyncio.gather(*self._responding, return_exceptions=True)
        for bus in self._buses:
            await bus.close()

    async def _resolve(self, request: ResolveNodeKeysV1, _: None) -> NodeKeysResolvedV1:
        """Find hosts that a gateway did not have in its cache: those of a second worker, for one."""
        if request.key_hashes and not self._numbers:
            self._numbers = {hash_node_key(node_key(number)).hex(): number for number in range(self._known)}
        numbers = [self._numbers[text] for text in request.key_hashes if text in self._numbers]
        return NodeKeysResolvedV1(hosts=tuple(map(record, numbers)), revision=self._known)

    async def _render(self, request: RenderPlanV1, _: None) -> PlanHead:
        sha256 = hashlib.sha256(self._config).hexdigest()
        head = PlanHead(
            class_key=class_key(request.team_id, request.platform, request.scope_labels),
            team_id=request.team_id,
            platform=request.platform,
            scope_labels=request.scope_labels,
            revision=1,
            config_sha256=sha256,
            etag=self.etag,
            compiled_at=datetime.now(UTC),
        )
        await self._plans.put(config_key(sha256), self._config)
        await self._plans.put(head_key(head.class_key), head.model_dump_json().encode())
        return head

    async def _start_campaigns(self, targets_by_id: dict[int, BitMap]) -> None:
        started_at = time.time()
        for number, targets in targets_by_id.items():
            data = targets.serialize()
            is_large = len(data) > campaigns.INLINE_BYTES
            command = CampaignCommand(
                number,
                SQL,
                started_at,
                started_at + CAMPAIGN_SECONDS,
                f"{number:032x}",
                b"" if is_large else data,
                None,
                await self._objects.put(data) if is_large else "",
                f"{number:016x}",
            )
            payload = msgspec.json.encode(command)
            await self._campaigns.put(command_key(number), encode_command(self._key.sign(payload), payload))

    async def _end_campaigns(self, campaign_ids: list[int]) -> None:
        for number in campaign_ids:
            await self._campaigns.delete(command_key(number))

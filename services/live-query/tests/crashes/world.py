"""Who stands around live-query while it crashes: people, hosts, and whoever looks at what it has kept.

All of them ask again until they are answered, as admin-api and gateways do.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from flotilla_common.bus.connection import Bus
from flotilla_common.campaign_archive import START, archive_folder, entries_after
from flotilla_common.cancellation import heed
from flotilla_common.clock import utc_now
from flotilla_common.contracts.base import Answer, Request
from flotilla_common.contracts.bitmaps import bitmap_of, bytes_of
from flotilla_common.contracts.campaigns import (
    Budget,
    CampaignOfferedV1,
    CampaignViewedV1,
    PauseCampaignV1,
    Released,
    StartCampaignV1,
    StopCampaignV1,
    released_key,
    split_command,
)
from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.errors import Invalid, Unavailable
from flotilla_common.testing import eventually
from live_query.deps import Deps
from nats.js.client import JetStreamContext
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ..conftest import Fleet, Gateway, Inventory, answer_to
from .nurseries import Deaths

A = TypeVar("A", bound=Answer)
PATIENCE_SECONDS = 120.0
AGAIN_SECONDS = 0.02
Entry = dict[str, str]


@dataclass
class Told:
    """What must come of a campaign: the states that each target may be in, why it ended, how many pauses are told."""

    number: int
    states: dict[int, tuple[str, ...]]
    reason: str
    overruns: int = 0


@dataclass
class World:
    """`looking` are a live-query's connections, of which nothing runs; `keeper` may look into every stream."""

    admin: Bus
    gateway: Gateway
    inventory: Inventory
    fleet: Fleet
    redis: Redis
    engine: AsyncEngine
    looking: Deps
    keeper: JetStreamContext
    deaths: Deaths
    dead: int = 0
    sent: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    async def ask(self, request: Callable[[], Request[A]], bus: Bus | None = None) -> A:
        """Ask until somebody answers; once more whenever one dies who may have been asked."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await self._ask_once(request(), bus or self.admin)
                except Unavailable:
                    await asyncio.sleep(AGAIN_SECONDS)

    async def _ask_once(self, request: Request[A], bus: Bus) -> A:
        death = self.deaths.next()
        asking = asyncio.create_task(bus.request(request))
        try:
            await asyncio.wait([asking, death], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([asking], timeout=AGAIN_SECONDS)  # it may have been answered before the death
        finally:
            asking.cancel()
        try:
            return await asking
        except asyncio.CancelledError:
            heed()
            raise Unavailable("who was asked may be dead") from None

    async def start(self, hosts: list[int], seconds: float = 3600.0, **members: Any) -> int:
        """Start one on these hosts, durable for so long unless another kind is given; return its number."""
        given = {"sql": "SELECT 1", "query_id": 7, "user_id": 3, "request_id": uuid4(), "host_ids": tuple(hosts)}

        def wish() -> StartCampaignV1:
            times = {} if "kind" in members else {"kind": "durable", "deadline": utc_now() + timedelta(seconds=seconds)}
            return StartCampaignV1.model_validate(given | members | times)

        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return (await self.ask(wish)).campaign_id
                except Invalid as refusal:
                    if "the deadline has passed" not in str(refusal):  # it took so long to be heard
                        raise

    async def stop(self, number: int) -> None:
        await self.ask(lambda: StopCampaignV1(campaign_id=number, reason="enough"))

    async def pause(self, number: int, *, paused: bool = True, budget: Budget | None = None) -> None:
        await self.ask(lambda: PauseCampaignV1(campaign_id=number, paused=paused, budget=budget))

    async def answer(self, number: int, *hosts: int, rows: int = 1, size: int = 8, **members: Any) -> None:
        """Have hosts answer with so many rows of this many characters, which nobody else answers."""
        for host_id in hosts:
            texts = [uuid4().hex[:size].ljust(size, "x") for _ in range(rows)]
            made = [{"host": str(host_id), "text": text} for text in texts]
            said = answer_to(number, made, **members)
            kept = "[]" if said.status else bytes(said.rows).decode()
            self.sent.setdefault((number, host_id), []).append(kept)
            await self.gateway.answer(host_id, said)

    async def in_time(self, number: int) -> tuple[str, ...]:
        """Return what may come of hosts whose answers the stream has by now: a crash may have taken all of its time."""
        was = "SELECT clock_timestamp() < deadline FROM live_query.campaigns WHERE id = :number"
        return ("answered",) if (await self.one(was, number=number))[0] else ("answered", "expired")

    async def offered(self, number: int, *hosts: int) -> None:
        """Say that hosts took the query. Whoever does not hear it does not know it."""
        told = CampaignOfferedV1(campaign_id=number, bitmap=base64.b64encode(bytes_of(hosts)).decode())
        await self.gateway.bus.send(told)

    async def viewed(self, number: int) -> None:
        await self.admin.send(CampaignViewedV1(campaign_id=number))

    async def released(self, number: int) -> set[int]:
        """Return whom gateways may ask."""
        value = await self.looking.bucket.get(released_key(number))
        if value is None:
            return set()
        found = msgspec.json.decode(split_command(value)[1], type=Released)
        bitmap = await self.looking.objects.get(found.hosts_hash) if found.hosts_hash else found.hosts
        return set(bitmap_of(bitmap or b""))

    async def online_hosts(self, number: int) -> list[int]:
        """Enroll hosts that are online however long it takes: others are not released."""
        hosts = await self.fleet.hosts(number)
        await self.change(
            "UPDATE inventory.host_seen SET seen_at = now() + interval '1 hour'"
            " WHERE host_id = ANY(CAST(:hosts AS bigint[]))",
            hosts=hosts,
        )
        return hosts

    async def until_released(self, number: int, *hosts: int) -> None:
        async def are_released() -> bool:
            return set(hosts) <= await self.released(number)

        await eventually(are_released, timeout=PATIENCE_SECONDS)

    async def one(self, statement: str, **values: object) -> Any:
        """Return the only row that is found."""
        async with self.engine.connect() as connection:
            return (await connection.execute(text(statement), values)).one()

    async def all(self, statement: str, **values: object) -> list[Any]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(statement), values)).all())

    async def change(self, statement: str, **values: object) -> None:
        """Write what nobody writes: time that has passed."""
        async with self.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def until(self, statement: str, **values: object) -> None:
        """Wait until a statement finds true."""

        async def is_so() -> bool:
            return bool((await self.one(statement, **values))[0])

        await eventually(is_so, timeout=PATIENCE_SECONDS)

    async def streamed(self, number: int) -> list[tuple[str, Entry]]:
        """Return what a viewer reads in Redis, with positions."""
        found = await self.redis.xrange(campaign_rows(number))
        return [(place.decode(), _text(fields)) for place, fields in found]

    async def archived(self, number: int) -> list[tuple[str, Entry]]:
        """Return what a viewer reads in the blob store, with positions."""
        names = await self.all(
            "SELECT object_name FROM live_query.campaign_segments WHERE campaign_id = :number ORDER BY number",
            number=number,
        )
        entries: list[tuple[str, Entry]] = []
        for (name,) in names:
            data, after = await self.looking.blobs.get(name), START
            assert data is not None, f"{name} is recorded and cannot be read"
            while piece := entries_after(data, after):
                entries += [(str(entry.position), _text(entry.fields)) for entry in piece]
                after = piece[-1].position
        return entries

    async def shown(self, number: int) -> list[tuple[str, Entry]]:
        """Return what a viewer reads from the beginning: the archive, then what Redis has behind it.

        Redis is read first: what moves meanwhile is then in both, and not in neither.
        """
        streamed = await self.streamed(number)
        archived = await self.archived(number)
        places = {place for place, _ in archived}
        return archived + [found for found in streamed if found[0] not in places]

    async def bodies(self, stream: str) -> list[bytes]:
        """Return the messages of a stream, as its keeper."""
        state = (await self.keeper.stream_info(stream)).state
        places = range(state.first_seq, state.last_seq + 1) if state.messages else ()
        found = [await self.keeper.get_msg(stream, place) for place in places]
        return [message.data or b"" for message in found]

    async def objects_of(self, number: int) -> int:
        """Delete what the blob store has of a campaign, and return how much that was."""
        return await self.looking.blobs.delete_folder(archive_folder(number))


def _text(fields: Any) -> Entry:
    return {name.decode(): value.decode() for name, value in fields.items()}

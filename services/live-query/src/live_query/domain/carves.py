"""Begin carves: only what a campaign has asked for, only as much as there is room for, each once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flotilla_common.contracts.campaigns import QUERY_PREFIX
from flotilla_common.contracts.carves import (
    BadCarve,
    BeginCarveV1,
    CarveDiffers,
    CarveExpired,
    CarveOverBudget,
    CarveUnasked,
)
from flotilla_common.db.models.live_query import Carve
from flotilla_common.errors import FleetError
from sqlalchemy.ext.asyncio import AsyncSession

from live_query.store import carves

GIB = 1024 * 1024 * 1024
CARVE_SIZE_LIMIT = 8 * GIB  # bytes, as Fleet's
BLOCK_SIZE_LIMIT = 256 * 1024 * 1024  # bytes, as Fleet's; what a body may have is less
BLOCKS_LIMIT = 1_000_000  # 8 GiB at osqueryd's default of 8 KiB a block
AFTER_END = timedelta(hours=1)  # osqueryd packs the files after it has answered, from the next full minute on
_CAMPAIGN = re.compile(QUERY_PREFIX + r"(\d{1,18})(?:_.*)?", re.DOTALL)
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class CarvePolicy:
    """How much is kept for how long: bytes and carves of one host, bytes of all. `unasked`: also without a campaign."""

    host_bytes: int
    host_carves: int
    total_bytes: int
    keep: timedelta
    unasked: bool = False


def check_numbers(request: BeginCarveV1) -> None:
    """Hold a carve's numbers to Fleet's rules (server/service/carves.go).

    Raises:
        BadCarve: they make no sense, or are beyond what is ever taken.

    """
    if not 0 < request.carve_size <= CARVE_SIZE_LIMIT:
        raise BadCarve(f"carve_size must be 1 to {CARVE_SIZE_LIMIT} bytes")
    if not 0 < request.block_size <= BLOCK_SIZE_LIMIT:
        raise BadCarve(f"block_size must be 1 to {BLOCK_SIZE_LIMIT} bytes")
    if not 0 < request.block_count <= BLOCKS_LIMIT:
        raise BadCarve(f"block_count must be 1 to {BLOCKS_LIMIT}: raise carver_block_size")
    if (
        not (request.block_count - 1) * request.block_size
        < request.carve_size
        <= (request.block_count * request.block_size)
    ):
        raise BadCarve("carve_size is not what so many blocks of this size hold")


async def begin_carves(
    session: AsyncSession, requests: Sequence[BeginCarveV1], policy: CarvePolicy, *, now: datetime
) -> list[Carve | FleetError]:
    """Record carves, all in one transaction; return each, or why it is refused, in the order of the requests.

    A repeat gets the carve that an earlier copy of the request began. The campaign that asked is the one in the request
    id, else the newest that carves on this host: the newest clients send a random id, which gets nobody further. The
    lock makes room a fact: it is held until the commit.

    Refusals: BadCarve, CarveUnasked, CarveOverBudget, CarveDiffers, CarveExpired.
    """
    named = [_CAMPAIGN.fullmatch(request.request_id) for request in requests]
    asked = [(one.host_id, int(name[1]) if name else None) for one, name in zip(requests, named, strict=True)]
    facts = await carves.hosts_asked(session, asked, now - AFTER_END)
    await carves.lock(session)
    begun = await carves.begun_before(session, {(one.host_id, one.carve_guid) for one in requests})
    desk = _Desk(policy, now, begun, await carves.kept(session, {one.host_id for one in requests}))
    outcomes = [desk.begin(request, facts.get(place)) for place, request in enumerate(requests)]
    await carves.add(session, desk.new)
    return outcomes


@dataclass
class _Desk:
    """Decides one request after the other. `begun`: host and carve id -> carve."""

    policy: CarvePolicy
    now: datetime
    begun: dict[tuple[int, str], Carve]
    kept: carves.Kept
    new: list[Carve] = field(default_factory=list)

    def begin(self, request: BeginCarveV1, facts: tuple[str, int | None] | None) -> Carve | FleetError:
        """Return the carve, or why there is none. `facts`: the host's name and who asked it."""
        try:
            check_numbers(request)
            if facts is None or (facts[1] is None and not self.policy.unasked):
                raise CarveUnasked(f"host {request.host_id} was not asked for a carve, or is gone")
            known = self.begun.get((request.host_id, request.carve_guid))
            if known is not None:
                return _the_same(known, request, self.now)
            _check_room(request, self.policy, self.kept)
        except FleetError as refusal:
            return refusal
        carve = self._carve(request, *facts)
        self.begun[request.host_id, request.carve_guid] = carve
        self.kept.add(carve)
        self.new.append(carve)
        return carve

    def _carve(self, request: BeginCarveV1, hostname: str, campaign_id: int | None) -> Carve:
        return Carve(
            host_id=request.host_id,
            campaign_id=campaign_id,
            name=name_of(hostname, request.carve_guid, self.now),
            carve_guid=request.carve_guid,
            request_id=request.request_id,
            block_count=request.block_count,
            block_size=request.block_size,
            carve_size=request.carve_size,
            created_at=self.now,
            expires_at=self.now + self.policy.keep,
        )


def name_of(hostname: str, carve_guid: str, now: datetime) -> str:
    """Return a carve's name. It may stand in a file's name: whatever a host is called, it has plain characters only."""
    plain = _ODD.sub("_", hostname[:100]).lstrip(".") or "host"
    return f"{plain}-{now:%Y-%m-%dT%H:%M:%SZ}-{_ODD.sub('_', carve_guid[:64])}"


def _the_same(known: Carve, request: BeginCarveV1, now: datetime) -> Carve:
    numbers = (known.request_id, known.block_count, known.block_size, known.carve_size)
    if numbers != (request.request_id, request.block_count, request.block_size, request.carve_size):
        raise CarveDiffers("a carve of this id was begun with other sizes or another request_id")
    if known.expired_at is not None or known.expires_at <= now:
        raise CarveExpired("this carve has expired")
    return known


def _check_room(request: BeginCarveV1, policy: CarvePolicy, kept: carves.Kept) -> None:
    number, size = kept.of_hosts.get(request.host_id, (0, 0))
    if number >= policy.host_carves:
        raise CarveOverBudget(f"host {request.host_id} has {number} carves that have not expired")
    if size + request.carve_size > policy.host_bytes:
        raise CarveOverBudget(f"carves of host {request.host_id} take {size} of {policy.host_bytes} bytes")
    if kept.total_bytes + request.carve_size > policy.total_bytes:
        raise CarveOverBudget(f"all carves take {kept.total_bytes} of {policy.total_bytes} bytes")

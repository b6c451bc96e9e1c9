"""How soon gateways hand a broad campaign out, and what it costs them in memory.

Hosts of a sample poll both gateways over kept connections while a campaign starts; then every further one must get it
at its next poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.campaigns import BUCKET, StartCampaignV1, command_key
from flotilla_common.contracts.labels import ALL_HOSTS
from flotilla_common.errors import FleetError

from bench.house import GatewayProcess, wait_until
from bench.live.kept import KeptConnection, campaign_of
from bench.live.place import DATABASE, HOSTS, LABEL, TEAM_IDS, LivePlace
from bench.load_client import LoadFailed
from bench.memory import pss_mib
from bench.rows import Row

CAMPAIGNS = 100
OPEN_AT_ONCE = 50  # then all are put away; a gateway asks for 64 broad campaigns at a time
SAMPLE = 8  # hosts at each gateway
POLL_PAUSE_SECONDS = 0.002
PAUSE_SECONDS = 0.1  # between campaigns, at most: live-query may be anywhere in its rounds
WAIT_SECONDS = 30.0
REACH_MS = 500
MEMORY_KB = 150
KB = 1000
OPEN = "flotilla_gateway_campaigns_open"
SEED = 1
SELECTIONS: tuple[dict[str, tuple[int, ...]], ...] = (
    {"label_ids": (ALL_HOSTS,)},
    {"label_ids": (LABEL,)},
    {"team_ids": TEAM_IDS, "allowed_team_ids": TEAM_IDS},
)
"""Ways to target each of the fleet's 100,000 hosts, in turn."""

PUT_AWAY = (
    "UPDATE live_query.campaigns SET status = 'complete', end_reason = 'stopped', ended_at = now(),"
    " cleared_at = now(), archived_at = now(), results_removed_at = now()",
    "TRUNCATE live_query.ledger",
)
"""A transaction each: live-query's own locks come in another order."""


@dataclass(frozen=True)
class Reached:
    """One campaign. Milliseconds from the request: to the first poll that got it at each gateway, to the answer."""

    campaign_id: int
    at_gateways: tuple[float, ...]
    answered: float


class Sample:
    """Hosts that poll one gateway in turn."""

    def __init__(self, connection: KeptConnection, numbers: Sequence[int]) -> None:
        self._connection = connection
        self._numbers = numbers

    async def first_poll_with(self, wanted: asyncio.Future[int]) -> float:
        """Poll, one host after the other, until an answer has the campaign; return that moment.

        Its number is known only once live-query has answered, later than gateways may have it: so what each answer
        brought is kept. Then each host of the sample that has not had it must get it at once.

        Raises:
            LoadFailed: a host was not asked, or nobody in time.

        """
        had: dict[int, list[tuple[int, float]]] = {}  # campaign -> who got it, and when
        deadline = time.monotonic() + WAIT_SECONDS
        for number in itertools.cycle(self._numbers):
            await self._note(number, had)
            if wanted.done() and wanted.result() in had:
                break
            if time.monotonic() > deadline:
                raise LoadFailed(f"no poll got the campaign in {WAIT_SECONDS:g} s")
            await asyncio.sleep(POLL_PAUSE_SECONDS)
        campaign_id = wanted.result()
        moment = had[campaign_id][0][1]
        for number in set(self._numbers) - {one for one, _ in had[campaign_id]}:
            await self._note(number, had)
        silent = set(self._numbers) - {one for one, _ in had[campaign_id]}
        if silent:
            raise LoadFailed(f"{len(silent)} of {len(self._numbers)} hosts were not asked by campaign {campaign_id}")
        return moment

    async def _note(self, number: int, had: dict[int, list[tuple[int, float]]]) -> None:
        names = await self._connection.read(number)
        moment = time.monotonic()
        for name in names:
            had.setdefault(campaign_of(name), []).append((number, moment))


def rows(place: LivePlace) -> Iterator[Row]:
    """Start campaigns at the whole fleet one after the other, on two gateways."""
    chosen = random.Random(SEED)
    sizes = [pss_kb(gateway) for gateway in place.gateways]
    taken: list[Reached] = []
    for number in range(CAMPAIGNS):
        time.sleep(chosen.uniform(0, PAUSE_SECONDS))
        selection = SELECTIONS[number % len(SELECTIONS)]
        taken.append(place.as_service("admin_api", lambda bus: reach(bus, place.gateways, selection, chosen)))  # noqa: B023
        if len(taken) == OPEN_AT_ONCE:
            grown = [pss_kb(gateway) - size for gateway, size in zip(place.gateways, sizes, strict=True)]
        if len(taken) % OPEN_AT_ONCE == 0:
            put_away(place, [one.campaign_id for one in taken[-OPEN_AT_ONCE:]])
    moments = sorted(max(one.at_gateways) for one in taken)
    middle, answered = percentile(moments, 0.5), percentile(sorted(one.answered for one in taken), 0.5)
    print(f"    first poll: median {middle:.0f} ms, worst {moments[-1]:.0f} ms; answer {answered:.0f} ms", flush=True)
    yield Row(
        f"StartCampaign at 100k hosts, until polls get it: p99 of {len(taken)}",
        percentile(moments, 0.99),
        "ms",
        REACH_MS,
        f"median {middle:.0f} ms, at the later of two gateways",
        details={"ms": [round(one, 1) for one in moments]},
    )
    yield Row(
        "memory per campaign at 100k hosts, in each gateway",
        max(grown) / OPEN_AT_ONCE,
        "KB",
        MEMORY_KB,
        f"{OPEN_AT_ONCE} open, PSS",
    )


async def reach(
    bus: Bus, gateways: Sequence[GatewayProcess], selection: dict[str, tuple[int, ...]], chosen: random.Random
) -> Reached:
    """Start a campaign while hosts poll; return when it reached them.

    Raises:
        LoadFailed: it did not start, not all hosts are targeted, or one of the sample was not asked.

    """
    numbers = chosen.sample(range(HOSTS), SAMPLE * len(gateways))
    samples = [numbers[at * SAMPLE : (at + 1) * SAMPLE] for at in range(len(gateways))]
    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(KeptConnection(gateway.target.plain_port)) for gateway in gateways
        ]
        hosts = [Sample(one, sample) for one, sample in zip(connections, samples, strict=True)]
        try:
            return await start_while_polling(bus, hosts, selection)
        except* (LoadFailed, FleetError) as group:
            raise LoadFailed(repr(group.exceptions[0])) from group


async def start_while_polling(bus: Bus, hosts: Sequence[Sample], selection: dict[str, tuple[int, ...]]) -> Reached:
    """Start a campaign; return when it came to each sample.

    Raises:
        ExceptionGroup: of what live-query says, and LoadFailed.

    """
    wanted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        begun = time.monotonic()
        polling = [tasks.create_task(one.first_poll_with(wanted)) for one in hosts]
        started = await bus.request(StartCampaignV1(sql="SELECT 1", query_id=None, user_id=1, **selection))
        answered = time.monotonic()
        wanted.set_result(started.campaign_id)
    if started.counts.total != HOSTS:
        raise LoadFailed(f"{started.counts.total} hosts were targeted, not {HOSTS}")
    moments = tuple((task.result() - begun) * 1000 for task in polling)
    return Reached(started.campaign_id, moments, (answered - begun) * 1000)


def put_away(place: LivePlace, campaign_ids: Sequence[int]) -> None:
    """End campaigns as if they had ended long ago: to settle 100,000 hosts of each is not what is measured."""
    for statement in PUT_AWAY:
        place.postgres.sql(statement, database=DATABASE)
    place.as_service("live_query", lambda bus: withdraw(bus, campaign_ids))
    for gateway in place.gateways:
        wait_until(lambda gateway=gateway: gateway.metric(OPEN) == 0, gateway, "no campaign is open")  # type: ignore[misc]


async def withdraw(bus: Bus, campaign_ids: Sequence[int]) -> None:
    """Remove commands from the bucket."""
    bucket = await open_bucket(bus, BUCKET)
    for campaign_id in campaign_ids:
        await bucket.delete(command_key(campaign_id))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share does not exceed (nearest rank)."""
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


def pss_kb(gateway: GatewayProcess) -> float:
    """Return a gateway's memory in units of 1,000 bytes."""
    return pss_mib(gateway.process.pid) * 2**20 / KB

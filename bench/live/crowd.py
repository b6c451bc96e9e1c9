"""Two thousand live queries at once, each at a single host, and what people feel of them who do something else."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import httpx2

from bench.bodies import encoded, rows_and_stats
from bench.fleet import host_id, node_key
from bench.house import GatewayProcess
from bench.live.people import API, TIMEOUT_SECONDS, People, run_of
from bench.live.place import LivePlace
from bench.load_client import KEPT_AGENT, LoadFailed
from bench.rows import Row

CAMPAIGNS = 2_000
STARTING = 2  # people at once
ANSWERING = 32  # hosts at once
IDLE_SECONDS = 10.0
OPEN_SECONDS = 5.0
PAGE = 1_000  # campaigns; the API shows no more at once
COMPLETE_SECONDS = 120.0
COMPLETE_LOOK_SECONDS = 0.2
LOOKS_PER_SECOND = 5.0
LOOKS = (
    "/me",
    "/hosts?per_page=50",
    "/hosts/{host}",
    "/host_summary",
    "/labels",
    "/queries",
    "/teams",
    "/config",
    "/campaigns?per_page=20",
)
"""What people look at, in turn; each look at another host."""
NAME = re.compile(rb'"(fleet_distributed_query_[0-9]+_[0-9]+_[0-9a-f]+)"')


def rows(place: LivePlace) -> Iterator[Row]:
    """Start them all, leave them open for a while, then let the hosts come."""
    idle, busy, phases = asyncio.run(measure(place.people, place.gateway))
    for name, seconds in phases.items():
        print(f"    {name:<40} {seconds:8.1f} s", flush=True)
    before, during = percentile(idle), percentile(busy)
    ended = sum(
        campaign["end_reason"] == "complete"
        for page in range(-(-CAMPAIGNS // PAGE))
        for campaign in place.people.call("GET", f"/campaigns?status=complete&per_page={PAGE}&page={page}")["campaigns"]
    )
    yield Row(
        f"{CAMPAIGNS:,} single-host campaigns at once: complete",
        float(ended),
        "",
        CAMPAIGNS,
        ", ".join(f"{name} {seconds:.0f} s" for name, seconds in phases.items()),
        at_least=True,
    )
    yield Row(
        f"admin-api's p95 during {CAMPAIGNS:,} campaigns, over its idle p95",
        during / before,
        "x",
        2,
        f"{during * 1000:.0f} ms, idle {before * 1000:.0f} ms, {len(busy)} looks",
    )


async def measure(people: People, gateway: GatewayProcess) -> tuple[list[float], list[float], dict[str, float]]:
    """Return the seconds of looks in peace, the seconds of those meanwhile, and how long each phase took."""
    idle: list[float] = []
    busy: list[float] = []
    phases: dict[str, float] = {}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=people.url + API, headers=people.headers, timeout=TIMEOUT_SECONDS, limits=limits
    ) as client:
        await look(client, itertools.count(), [], len(LOOKS) * 2)  # connections, prepared statements
        async with looking(client, idle):
            await asyncio.sleep(IDLE_SECONDS)
        async with looking(client, busy):
            for name, work in (
                ("starting", start_all(client)),
                ("open", asyncio.sleep(OPEN_SECONDS)),
                ("answering", answer_all(gateway)),
                ("completing", all_complete(client)),
            ):
                begun = time.monotonic()
                await work
                phases[name] = time.monotonic() - begun
    return idle, busy, phases


@asynccontextmanager
async def looking(client: httpx2.AsyncClient, taken: list[float]) -> AsyncIterator[None]:
    """Look at something at a steady rate, however long an answer takes; collect seconds of each."""
    task = asyncio.create_task(look(client, itertools.count(), taken))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def look(
    client: httpx2.AsyncClient, numbers: Iterator[int], taken: list[float], count: int | None = None
) -> None:
    """Send the looks, an open loop: each counts from the moment it was due."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in itertools.islice(numbers, count):
            due = begun + number / LOOKS_PER_SECOND
            await asyncio.sleep(due - loop.time())
            path = LOOKS[number % len(LOOKS)].format(host=host_id(number))
            tasks.create_task(one_look(client, path, due, taken))


async def one_look(client: httpx2.AsyncClient, path: str, due: float, taken: list[float]) -> None:
    """Look once."""
    reply = await client.get(path)
    if not reply.is_success:
        raise LoadFailed(f"GET {path} answered {reply.status_code}: {reply.text[:200]}")
    taken.append(asyncio.get_running_loop().time() - due)


async def start_all(client: httpx2.AsyncClient) -> None:
    """Have a few people start them, one after the other each."""
    numbers = iter(range(CAMPAIGNS))

    async def person() -> None:
        for number in numbers:
            body = run_of(f"SELECT {number}", [host_id(number)])
            reply = await client.post("/queries/run", json=body)
            if not reply.is_success:
                raise LoadFailed(f"campaign {number} was answered {reply.status_code}: {reply.text[:200]}")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(STARTING):
            tasks.create_task(person())


async def answer_all(gateway: GatewayProcess) -> None:
    """Have every host poll, and answer the query that it gets with ten rows."""
    numbers = iter(range(CAMPAIGNS))
    found, stats = rows_and_stats()

    async def host(client: httpx2.AsyncClient) -> None:
        for number in numbers:
            key = node_key(number)
            names = NAME.findall(await ask(client, "read", {"node_key": key}))
            if not names:
                raise LoadFailed(f"host {number} was not asked")
            for name in (one.decode() for one in names):
                said = {"queries": {name: found}, "statuses": {name: 0}, "messages": {}, "stats": {name: stats}}
                await ask(client, "write", {"node_key": key, **said})

    async with (
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{gateway.target.plain_port}",
            headers={"User-Agent": KEPT_AGENT},
            timeout=TIMEOUT_SECONDS,
        ) as client,
        asyncio.timeout(COMPLETE_SECONDS),
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(ANSWERING):
            tasks.create_task(host(client))


async def ask(client: httpx2.AsyncClient, what: str, body: dict[str, object]) -> bytes:
    """Post as a host does."""
    reply = await client.post(f"/api/v1/osquery/distributed/{what}", content=encoded(body))
    if not reply.is_success or b'"error"' in reply.content:
        raise LoadFailed(f"distributed/{what} answered {reply.status_code}: {reply.text[:200]}")
    return reply.content


async def all_complete(client: httpx2.AsyncClient) -> None:
    """Wait until no campaign is open."""
    for _ in range(int(COMPLETE_SECONDS / COMPLETE_LOOK_SECONDS)):
        if not (await client.get("/campaigns?status=open&per_page=1")).json()["campaigns"]:
            return
        await asyncio.sleep(COMPLETE_LOOK_SECONDS)
    raise LoadFailed(f"not all campaigns were complete after {COMPLETE_SECONDS:g} s")


def percentile(seconds: Sequence[float], part: float = 0.95) -> float:
    """Return the value that so large a part is not above."""
    return sorted(seconds)[min(int(part * len(seconds)), len(seconds) - 1)]

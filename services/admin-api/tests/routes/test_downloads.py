"""Files that are made while they are sent: a part that is down is waited for; half a file looks like no whole one."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from admin_api.domain import campaign_ledgers
from admin_api.routes import downloads
from admin_api.store import campaign_ledgers as ledger_store
from admin_api.store.campaign_segments import SegmentFiles
from flotilla_common.errors import Unavailable

from .archiving import Archivist

PREFIX = "/api/latest/fleet"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(downloads, "OUTAGE_SECONDS", 0.05)


class Failing:
    """A function that stands for a part: after so many calls it is down for so many."""

    def __init__(self, real, good: int, bad: int) -> None:
        self._real, self._good, self._bad = real, good, bad
        self.calls = 0

    async def __call__(self, *args, **words):
        self.calls += 1
        if self._good < self.calls <= self._good + self._bad:
            raise Unavailable("it is down")
        return await self._real(*args, **words)


@pytest.fixture
async def archived(fleet, live_query, deps):
    """Six hosts with a row each: three, two and one in their segments and in Redis."""
    hosts = [await fleet.host(f"h{number}") for number in range(6)]
    number = await live_query.campaign(hosts)
    for host in hosts:
        await live_query.answer(number, host, [{"of": f"row-{host}"}])
    archivist = Archivist(live_query, deps.blobs)
    await archivist.segment(number, 3)
    await archivist.segment(number, 2)
    return number, hosts


@pytest.fixture
def down(monkeypatch):
    """`down(what, good, bad)`: the blob store, or the ledger, fails after so many reads, so many times."""

    def let(what: str, good: int, bad: int) -> None:
        if what == "results":
            failing = Failing(SegmentFiles.get, good, bad)

            async def get(*args):
                return await failing(*args)

            monkeypatch.setattr(SegmentFiles, "get", get)
        else:
            monkeypatch.setattr(campaign_ledgers, "PAGE", 2)
            monkeypatch.setattr(ledger_store, "after", Failing(ledger_store.after, good, bad))

    return let


@pytest.fixture
async def take(door, admin):
    """`await take(path, format)`: what a client on the wire gets."""
    async with httpx2.AsyncClient(base_url=f"http://{door}{PREFIX}", headers=admin.headers, timeout=30) as client:

        async def get(path: str, kind: str):
            return await client.get(path, params={"format": kind})

        yield get


CASES = [
    ("results", "csv", 1),
    ("results", "csv", 2),
    ("results", "csv", 3),
    ("results", "json", 1),
    ("ledger", "csv", 1),
    ("ledger", "json", 1),
]
"""What is taken, as what, and how many reads go well before the outage (a CSV file of results is read twice)."""


@pytest.mark.parametrize(("what", "kind", "good"), CASES)
async def test_a_file_that_ends_too_early_breaks_the_connection(archived, down, take, monkeypatch, what, kind, good):
    monkeypatch.setattr(downloads, "PATIENCE_SECONDS", 0.2)
    down(what, good, 10**6)

    with pytest.raises(httpx2.RemoteProtocolError):
        await asyncio.wait_for(take(f"/campaigns/{archived[0]}/{what}/export", kind), 20)


@pytest.mark.parametrize(("what", "kind", "good"), CASES)
async def test_a_file_waits_for_a_part_that_is_down(archived, down, take, what, kind, good):
    down(what, good, 3)

    text = (await take(f"/campaigns/{archived[0]}/{what}/export", kind)).text

    assert [text.count(f"h{number}") for number in range(6)] == [2] * 6  # hostname and display name, each once


@pytest.mark.parametrize(
    ("what", "kind"), [("results", "csv"), ("results", "json"), ("ledger", "csv"), ("ledger", "json")]
)
async def test_a_part_that_is_down_from_the_start_is_told(archived, down, take, what, kind):
    down(what, 0, 10**6)

    answer = await take(f"/campaigns/{archived[0]}/{what}/export", kind)

    assert answer.status_code == 503

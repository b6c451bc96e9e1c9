"""What a class gets is loaded once for all who wait, and the one before is served while the newest cannot be had."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import pytest
from agent_gateway.domain.class_bytes import ClassBytes, fetched
from agent_gateway.domain.hosts import Host, HostClass
from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.errors import FleetError, Invalid, Unavailable
from flotilla_common.testing import eventually


def host_of(team_id: int) -> Host:
    return Host(1, 0, HostClass(HostRecord(host_id=1, revision=1, node_key_hash=None, team_id=team_id)), 0)


HOST = host_of(1)


class Source:
    """Where the newest comes from; `hold` keeps it back, `error` stands in its way."""

    def __init__(self) -> None:
        self.calls = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.error: FleetError | None = None

    async def load(self, _host: Host) -> int:
        self.calls += 1
        number = self.calls
        await self.hold.wait()
        if self.error is not None:
            raise self.error
        return number


async def test_all_who_ask_at_once_wait_for_one_load() -> None:
    source = Source()
    of_class = ClassBytes(source.load)

    assert await asyncio.gather(*(of_class.load(HOST) for _ in range(5)), of_class.load(host_of(2))) == [1] * 5 + [2]
    assert of_class.ready == {HOST.class_key: 1, host_of(2).class_key: 2}


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    source = Source()
    source.hold.clear()
    of_class = ClassBytes(source.load)
    first, second = (asyncio.create_task(of_class.load(HOST)) for _ in range(2))
    await eventually(lambda: source.calls)

    first.cancel()
    await asyncio.wait([first])
    source.hold.set()

    assert await second == 1


@pytest.mark.parametrize("error", [Unavailable(), Invalid("refused as too large")])
async def test_the_one_before_is_served_while_the_newest_cannot_be_had(error: FleetError) -> None:
    source = Source()
    of_class = ClassBytes(source.load)
    await of_class.load(HOST)

    source.error = error
    assert await of_class.load(HOST) == 1
    source.error = None
    assert await of_class.load(HOST) == 3


async def test_without_one_before_the_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    of_class = ClassBytes(source.load)
    source.error = Invalid("refused as too large")
    with pytest.raises(Invalid):
        await of_class.load(HOST)

    monkeypatch.setattr("agent_gateway.domain.class_bytes.PLAN_SECONDS", 0.01)
    source.error = None
    source.hold.clear()
    with pytest.raises(Unavailable, match="took more than"):
        await of_class.load(HOST)
    await of_class.close()


async def test_what_is_dropped_is_not_served_again() -> None:
    source = Source()
    of_class = ClassBytes(source.load)
    await of_class.load(HOST)

    of_class.drop(HOST.class_key)
    source.error = Unavailable()

    with pytest.raises(Unavailable):
        await of_class.load(HOST)


Fetch = Callable[[str], Awaitable[bytes | None]]


@pytest.mark.parametrize("body", [None, b"other bytes"])
async def test_bytes_that_are_missing_or_others_are_an_outage(body: bytes | None) -> None:
    async def fetch(_key: str) -> bytes | None:
        return body

    with pytest.raises(Unavailable):
        await fetched(fetch, "config.x", hashlib.sha256(b"bytes").hexdigest())

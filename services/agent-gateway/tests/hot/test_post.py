"""A post is answered once, when the last of what it waits for is known, and `{}` only where all of it is in custody."""

from __future__ import annotations

import asyncio
import datetime
import gc
import weakref

import msgspec
import pytest
from agent_gateway.domain import gateway as domain
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.roads import ALL_ROADS
from agent_gateway.guard import Guard
from agent_gateway.hot.post import Post
from agent_gateway.hot.road import HotRoad
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually

from ..conftest import House

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
ROAD = ALL_ROADS["/api/osquery/log"]


class Answers(list[tuple[int, bytes]]):
    """What was answered, and in which order it was ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    def answer(self, status: int, _headers: object, body: bytes) -> None:
        assert self.ended == 1
        self.append((status, body))

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def post(answers: Answers) -> Post:
    return Post(ROAD, [], Counters(), answers.answer, answers.end)


def two() -> list[asyncio.Future[None]]:
    loop = asyncio.get_running_loop()
    return [loop.create_future(), loop.create_future()]


async def settled(*futures: asyncio.Future[None]) -> None:
    await asyncio.wait(futures)
    await asyncio.sleep(0)


async def test_it_is_taken_once_all_is_in_custody(post, answers):
    first, second = two()
    noted: list[str] = []
    post.wait_for(([first, second], lambda: noted.append("noted")))
    first.set_result(None)
    await settled(first)
    early = list(answers)
    second.set_result(None)
    await settled(second)

    assert (early, answers, noted) == ([], [(200, b"{}")], ["noted"])


@pytest.mark.parametrize("failure", [Unavailable("no"), ValueError("a bug"), SystemExit(1), None], ids=repr)
async def test_a_part_that_fails_or_is_cancelled_fails_all_of_it(post, answers, failure):
    first, second = two()
    noted: list[str] = []
    post.wait_for(([first, second], lambda: noted.append("noted")))
    if failure is None:
        first.cancel()
    else:
        first.set_exception(failure)
    second.set_result(None)
    await settled(first, second)

    [(status, body)] = answers
    assert status >= 500
    assert msgspec.json.decode(body)["error"]
    assert noted == []


async def test_what_cannot_be_noted_is_a_failure_too(post, answers):
    def fail() -> None:
        raise ValueError("a bug")

    post.wait_for(([], fail))

    assert [status for status, _ in answers] == [500]


class Client:
    """Who waits for an answer."""

    def __init__(self) -> None:
        self.status = 0

    def answer(self, status: int, _headers: object, _body: bytes) -> None:
        self.status = status


@pytest.mark.parametrize(("log_type", "status"), [("result", 200), ("nonsense", 400), ("status", 503)])
async def test_nothing_of_a_post_outlives_it(house: House, monkeypatch, log_type: str, status: int) -> None:
    """What a failure's frames hold would stay until the next collection of garbage, which is rare here."""
    key = house.inventory.add_host(1)
    await house.post("distributed/read", {"node_key": key})
    if status == 503:
        monkeypatch.setattr(house.gateway.logs, "_publish", refuse)
    hot = HotRoad(house.gateway, Guard(house.gateway, ()))
    clients = [Client()]
    left = weakref.ref(clients[0])
    body = msgspec.json.encode({"node_key": key, "log_type": log_type, "data": [{"n": 1}]})
    gc.collect()
    gc.disable()
    try:
        assert hot.begin(ROAD, [], body, clients[0].answer, is_own=True)
        await eventually(lambda: clients[0].status)
        assert clients.pop().status == status
        await eventually(lambda: left() is None, timeout=5.0)
    finally:
        gc.enable()


async def refuse(*_: object) -> None:
    raise Unavailable("nats")


async def test_a_post_of_unknown_kind_counts_as_one_of_its_host(house: House) -> None:
    key = house.inventory.add_host(1)
    await house.post("distributed/read", {"node_key": key})
    house.gateway.seen.take(NOW)
    client = Client()

    body = msgspec.json.encode({"node_key": key, "log_type": "nonsense", "data": []})
    assert HotRoad(house.gateway, Guard(house.gateway, ())).begin(ROAD, [], body, client.answer, is_own=True)

    assert client.status == 400
    assert house.gateway.seen.take(NOW)


async def test_whether_a_class_is_open_is_looked_at_for_many_requests_at_once(house: House, monkeypatch) -> None:
    gateway, shut = house.gateway, [False]
    monkeypatch.setattr(gateway, "is_closed", lambda _class: shut[0])
    monkeypatch.setattr(domain, "OPEN_FOR_SECONDS", 0.2)
    found = [gateway.lets_in_at_once("log", 1000, 10)]
    shut[0] = True
    found += [gateway.lets_in_at_once("log", 1000, size) for size in (10, 1001)]
    other = gateway.lets_in_at_once("write", 1000, 10)
    await eventually(lambda: not gateway.lets_in_at_once("log", 1000, 10))
    shut[0] = False

    assert found == [True, True, False]
    assert not other
    assert gateway.lets_in_at_once("log", 1000, 10)

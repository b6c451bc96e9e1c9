"""A post is answered once, when the last of what it waits for is known, and `{}` only where all of it is in custody."""

from __future__ import annotations

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
from flotilla_common.errors import Refused, Unavailable
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


async def test_it_is_taken_once_all_is_in_custody(post, answers):
    noted: list[str] = []
    post.wait_for(2, lambda: noted.append("noted"))
    post.told(None)
    early = list(answers)
    post.told(None)

    assert (early, answers, noted) == ([], [(200, b"{}")], ["noted"])


@pytest.mark.parametrize("failures", [(Unavailable("no"), None), (None, Unavailable("no")), (Refused("full"),) * 2])
async def test_a_part_that_fails_fails_all_of_it(post, answers, failures):
    noted: list[str] = []
    post.wait_for(2, lambda: noted.append("noted"))
    for failure in failures:
        post.told(failure)

    [(status, body)] = answers
    assert status >= 500
    assert msgspec.json.decode(body)["error"]
    assert noted == []


@pytest.mark.parametrize("failure", [Unavailable("no"), ValueError("a bug")], ids=repr)
async def test_it_is_answered_once_though_something_was_handed_over_before_it_failed(post, answers, failure):
    post.fail(failure)
    post.told(None)
    post.told(None)

    assert [status >= 500 for status, _ in answers] == [True]


async def test_what_cannot_be_noted_is_a_failure_too(post, answers):
    def fail() -> None:
        raise ValueError("a bug")

    post.wait_for(0, fail)

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

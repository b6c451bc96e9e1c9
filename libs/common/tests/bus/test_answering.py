"""Requests: they reach their owner, whose answer or error comes back."""

import asyncio
from types import SimpleNamespace

import flotilla_common.db.engine  # noqa: F401  # says what counts as an outage of Postgres
import pytest
from flotilla_common.bus import answering
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.contracts.hosts import (
    BadEnrollSecret,
    EnrolledV1,
    EnrollHostV1,
    HostRecord,
)
from flotilla_common.errors import NotNow, Unanswered, Unavailable
from flotilla_common.testing import eventually
from psycopg.errors import AdminShutdown, DeadlockDetected, LockNotAvailable, QueryCanceled
from sqlalchemy.exc import OperationalError

RECORD = HostRecord(host_id=7, revision=3, node_key_hash="ab" * 16, team_id=None, platform="ubuntu")
ENROLL = EnrollHostV1(enroll_secret="s3cret", host_identifier="A-1")


async def test_a_request_reaches_its_owner_and_the_secret_crosses_the_bus(bus_for):
    async def answer(request: EnrollHostV1, _deps: None) -> EnrolledV1:
        return EnrolledV1(node_key=request.enroll_secret.get_secret_value() + "-key", host=RECORD)

    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, answer), None, ready=ready))
    await ready.wait()
    reply = await gateway.request(ENROLL)
    task.cancel()

    assert reply.node_key.get_secret_value() == "s3cret-key"
    assert reply.host == RECORD
    assert "s3cret" not in repr(ENROLL)


async def test_an_error_of_the_owner_arrives_as_its_own_class(bus_for):
    async def refuse(request: EnrollHostV1, _deps: None) -> EnrolledV1:
        raise BadEnrollSecret(request.host_identifier)

    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, refuse), None, ready=ready))
    await ready.wait()

    with pytest.raises(BadEnrollSecret, match="A-1"):
        await gateway.request(ENROLL)
    task.cancel()


async def test_a_bug_in_the_owner_is_answered_and_is_no_outage(bus_for):
    async def break_down(_request: EnrollHostV1, _deps: None) -> EnrolledV1:
        raise KeyError("bug")

    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, break_down), None, ready=ready))
    await ready.wait()

    with pytest.raises(NotNow):
        await gateway.request(ENROLL)
    task.cancel()


@pytest.mark.parametrize(
    ("error", "is_about_one"),
    [(LockNotAvailable, True), (DeadlockDetected, True), (QueryCanceled, False), (AdminShutdown, False)],
)
async def test_a_row_that_another_request_holds_is_no_outage_of_the_owner(bus_for, error, is_about_one):
    async def wait_in_vain(_request: EnrollHostV1, _deps: None) -> EnrolledV1:
        raise OperationalError("SELECT", {}, error("from Postgres"))

    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, wait_in_vain), None, ready=ready))
    await ready.wait()

    with pytest.raises(Unavailable) as caught:
        await gateway.request(ENROLL)
    assert isinstance(caught.value, NotNow) is is_about_one
    task.cancel()


async def test_without_an_owner_a_request_is_unavailable_at_once(bus_for):
    gateway = await bus_for("agent_gateway")

    with pytest.raises(Unavailable, match=r"inventory does not answer; is it running\?") as caught:
        await gateway.request(ENROLL)
    assert not isinstance(caught.value, Unanswered)


async def test_a_request_without_an_answer_may_have_been_done(bus_for, monkeypatch):
    async def think(_request: EnrollHostV1, _deps: None) -> EnrolledV1:
        return await asyncio.Future()

    monkeypatch.setattr(EnrollHostV1, "timeout_seconds", 0.1)
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, think), None, ready=ready))
    await ready.wait()

    with pytest.raises(Unanswered):
        await gateway.request(ENROLL)
    task.cancel()


async def test_a_handler_is_told_how_long_a_request_waited_for_its_turn(bus_for, monkeypatch):
    now, looks, waits, gate = 100.0, [], [], asyncio.Event()

    def monotonic() -> float:
        looks.append(now)
        return now

    def add_wait(request: EnrollHostV1, seconds: float) -> EnrollHostV1:
        return request.model_copy(update={"waited_seconds": seconds})

    async def answer(request: EnrollHostV1, _deps: None) -> EnrolledV1:
        waits.append(request.waited_seconds)
        await gate.wait()
        return EnrolledV1(node_key="key", host=RECORD)

    monkeypatch.setattr(answering, "time", SimpleNamespace(monotonic=monotonic))
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    responder, ready = Responder(EnrollHostV1, answer, concurrency=1, add_wait=add_wait), asyncio.Event()
    task = asyncio.create_task(respond(inventory, responder, None, ready=ready))
    await ready.wait()
    first = asyncio.create_task(gateway.request(ENROLL))
    await eventually(lambda: waits)
    second = asyncio.create_task(gateway.request(ENROLL))
    await eventually(lambda: len(looks) == 3)
    now += 3.5
    gate.set()
    await asyncio.gather(first, second)
    task.cancel()

    assert waits == [0.0, 3.5]

"""Circuits: open after failures in a row, one probe a second, closed by the first success."""

from __future__ import annotations

import pytest
from agent_gateway.domain.circuits import Circuit
from flotilla_common.contracts.hosts import HostsAffectedV1, IdentityHeld, RefetchHostV1
from flotilla_common.errors import NotNow, Unavailable
from structlog.testing import capture_logs

from .test_buckets import Clock

DOWN = Unavailable("nobody is there")


def due() -> tuple[Circuit, Clock]:
    """Return an open circuit that lets the next question through."""
    clock = Clock()
    circuit = Circuit("x", clock=clock)
    circuit.failed(DOWN)
    clock.now += 1.0
    return circuit, clock


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    circuit = Circuit("x", tolerance=3, clock=Clock())
    for _ in range(2):
        circuit.failed(DOWN)
    circuit.succeeded()
    for _ in range(2):
        circuit.failed(DOWN)

    assert circuit.lets_through()
    circuit.failed(DOWN)
    assert (circuit.is_open, circuit.lets_through(), circuit.refuses()) == (True, False, True)


def test_one_failure_is_enough_when_it_is_for_certain() -> None:
    circuit = Circuit("x", tolerance=3, clock=Clock())
    circuit.failed(DOWN, for_certain=True)

    assert not circuit.lets_through()


def test_while_it_is_open_one_a_second_is_let_through() -> None:
    clock = Clock()
    circuit = Circuit("x", clock=clock)
    circuit.failed(DOWN)
    passed = 0
    for _ in range(1000):
        clock.now += 0.01
        if circuit.lets_through():
            passed += 1
            circuit.failed(DOWN)

    assert 9 <= passed <= 10


def test_who_waits_long_for_a_probe_is_refused_at_once_after_it() -> None:
    circuit, clock = due()
    assert circuit.lets_through()
    clock.now += 2.0
    circuit.failed(DOWN)

    assert [circuit.lets_through() for _ in range(3)] == [False] * 3
    clock.now += 1.0
    assert circuit.lets_through()


def test_the_first_success_closes_it() -> None:
    circuit, _ = due()
    assert circuit.lets_through()
    circuit.succeeded()

    assert [circuit.lets_through() for _ in range(3)] == [True] * 3
    assert not circuit.is_open


def test_looking_takes_no_probe() -> None:
    circuit, _ = due()

    assert [circuit.refuses() for _ in range(3)] == [False] * 3
    assert [circuit.lets_through() for _ in range(3)] == [True, False, False]
    assert circuit.refuses()


def test_it_says_once_that_it_opens_and_once_that_it_closes() -> None:
    clock = Clock()
    circuit = Circuit("inventory", clock=clock)
    with capture_logs() as logged:
        for _ in range(50):
            clock.now += 0.5
            circuit.lets_through()
            circuit.failed(DOWN)
        circuit.succeeded()
        circuit.succeeded()

    assert [(line["log_level"], line["what"]) for line in logged] == [("warning", "inventory"), ("info", "inventory")]


async def test_a_denial_is_an_answer_and_silence_is_none() -> None:
    outcome: list[Exception | None] = [DOWN, IdentityHeld(), DOWN, NotNow(), DOWN, DOWN]
    asked = 0

    async def ask(request: RefetchHostV1, /) -> HostsAffectedV1:
        nonlocal asked
        asked += 1
        error = outcome.pop(0)
        if error is not None:
            raise error
        return HostsAffectedV1(count=1)

    circuit = Circuit("x", tolerance=2, clock=Clock())
    asking = circuit.asking(ask)  # type: ignore[arg-type]
    for error in (Unavailable, IdentityHeld, Unavailable, NotNow, Unavailable, Unavailable, Unavailable):
        with pytest.raises(error):
            await asking(RefetchHostV1(host_id=1))

    assert asked == 6

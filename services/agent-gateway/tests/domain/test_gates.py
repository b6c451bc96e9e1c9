"""Gates of custody streams: shut before the stream is full, open again when there is room, tried when it refused."""

from __future__ import annotations

import pytest
from agent_gateway.domain.gates import MEASURE_IS_GOOD_SECONDS, Gate
from flotilla_common.errors import Refused, Unavailable
from structlog.testing import capture_logs

from .test_buckets import Clock


class Stream:
    """Stores, or fails as it is told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.stored = 0

    async def publish(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        if self.error is not None:
            raise self.error
        self.stored += 1
        return self.stored


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def gate(stream: Stream, clock: Clock) -> Gate:
    return Gate("LOGS", stream.publish, full_at=0.95, room_at=0.90, clock=clock)


def test_it_shuts_at_its_mark_and_opens_below_another(gate: Gate) -> None:
    states = []
    for used in (0, 94, 95, 94, 91, 90, 89, 94, 95, 100):
        gate.measured(used, 100)
        states.append(gate.refusal())

    assert states == [None, None, "full", "full", "full", "full", None, None, "full", "full"]


def test_it_says_once_that_it_shuts_and_once_that_it_opens(gate: Gate) -> None:
    with capture_logs() as logged:
        for used in (10, 96, 97, 98, 50, 40):
            gate.measured(used, 100)

    assert [line["event"] for line in logged] == ["stream is short of room", "stream has room again"]


def test_an_old_measure_shuts_nothing(gate: Gate, clock: Clock) -> None:
    gate.measured(99, 100)
    clock.now += MEASURE_IS_GOOD_SECONDS + 1

    assert gate.refusal() is None


def test_a_stream_without_a_limit_is_never_full(gate: Gate) -> None:
    gate.measured(10**15, -1)

    assert (gate.refusal(), gate.fullness) == (None, 0.0)


async def test_a_stream_that_refused_is_tried_by_one_request_a_second(gate: Gate, stream: Stream, clock: Clock) -> None:
    stream.error = Refused("maximum bytes exceeded")
    with pytest.raises(Refused):
        await gate.publish("logs", b"")

    assert (gate.refusal(), gate.is_shut) == ("refused", True)
    clock.now += 1.0
    assert [gate.refusal() for _ in range(3)] == [None] * 3  # to look is not to try
    with pytest.raises(Refused):
        await gate.publish("logs", b"")
    assert gate.refusal() == "refused"

    stream.error = None
    with pytest.raises(Unavailable):
        await gate.publish("logs", b"")
    assert stream.stored == 0
    clock.now += 1.0
    await gate.publish("logs", b"")
    assert (gate.refusal(), gate.is_shut, stream.stored) == (None, False, 1)


async def test_one_message_without_an_ack_shuts_nothing_and_three_in_a_row_do(gate: Gate, stream: Stream) -> None:
    stream.error = Unavailable("no ack")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await gate.publish("logs", b"")
    assert gate.refusal() is None

    with pytest.raises(Unavailable):
        await gate.publish("logs", b"")
    assert gate.refusal() == "refused"


async def test_who_did_not_ask_before_is_not_published_while_it_is_shut(gate: Gate, stream: Stream) -> None:
    gate.measured(99, 100)

    with pytest.raises(Unavailable):
        await gate.publish("answers", b"")
    assert stream.stored == 0

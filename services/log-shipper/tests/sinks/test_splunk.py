"""The Splunk destination, against a stand-in of its HTTP Event Collector (a real HTTP server, `Collector`)."""

from __future__ import annotations

import json

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.testing import eventually
from flotilla_common.testing.http_standin import DROPPED, LOST, SILENT, Answer, Asked, Standin, serving
from log_shipper.domain.specs import MASK, checked, shown
from log_shipper.errors import DestinationDown
from log_shipper.sinks.splunk import KIND

from .http_batches import HOSTILE, RECEIVED_MS, batch_of, books, destination, numbered, outcome

TOKEN = "11111111-2222-3333-4444-555555555555"


class Collector(Standin):
    """Stands in for an event collector: takes concatenated events one by one, and stops at the first it does not take.

    Events before that one are indexed, unless it `is_atomic` as other software that speaks HEC. With acknowledgements
    a request is indexed at the second look.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict] = []
        self.bad: dict[object, int] = {}
        self.counts_from = 0
        self.is_atomic = False
        self.largest = 1_000_000
        self.acknowledges = False
        self.stuck = False
        self.looks: dict[int, int] = {}

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Splunk {TOKEN}":
            return Answer.of(403, {"text": "Invalid token", "code": 4})
        if len(asked.raw) > self.largest:
            return Answer(413, b"<html>too large</html>")
        if asked.path == "/services/collector/ack":
            return self.acks(json.loads(asked.body)["acks"])
        assert asked.path == "/services/collector/event"
        if self.acknowledges and "x-splunk-request-channel" not in asked.headers:
            return Answer.of(400, {"text": "Data channel is missing", "code": 10})
        before = len(self.events)
        for number, event in enumerate(_events(asked.body), self.counts_from):
            code = self.bad.get(_key(event))
            if code is not None:
                if self.is_atomic:
                    del self.events[before:]
                return Answer.of(400, {"text": "Invalid event", "code": code, "invalid-event-number": number})
            if "flotilla_destination_test" not in str(event["event"]):
                self.events.append(event)
        answer = {"text": "Success", "code": 0}
        if self.acknowledges:
            self.looks[len(self.looks)] = 0
            answer["ackId"] = len(self.looks) - 1
        return Answer.of(200, answer)

    def acks(self, numbers: list[int]) -> Answer:
        for number in numbers:
            self.looks[number] += 1
        return Answer.of(200, {"acks": {str(one): self.looks[one] > 1 and not self.stuck for one in numbers}})

    @property
    def lines(self) -> list[object]:
        return [event["event"] for event in self.events]


def _events(body: bytes) -> list[dict]:
    text, found, at = body.decode(), [], 0
    decoder = json.JSONDecoder()
    while at < len(text):
        event, at = decoder.raw_decode(text, at)
        found.append(event)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def _key(event: dict) -> object:
    return event["event"].get("number") if isinstance(event["event"], dict) else event["event"]


@pytest.fixture
def collector() -> Collector:
    return Collector()


async def deliver(url: str, batch, **settings):
    sink = KIND.open({"url": url, "token": TOKEN} | settings)
    try:
        return await sink.deliver(batch, await sink.plan(7, 8, batch.started_at))
    finally:
        await sink.close()


def numbers(collector: Collector) -> list[int]:
    return [line["number"] for line in collector.lines]


async def test_a_line_is_an_event_with_the_time_and_the_host_that_it_is_from(collector):
    batch = batch_of(numbered(4))
    async with serving(collector) as url:
        await deliver(url, batch, index="osquery", source="flotilla", sourcetype="_json", gzip=True)

    assert numbers(collector) == [0, 1, 2, 3]
    assert collector.events[0] == {
        "time": RECEIVED_MS / 1000, "index": "osquery", "source": "flotilla", "sourcetype": "_json",
        "fields": {"flotilla_host_id": "47", "flotilla_team_id": "3", "flotilla_log_type": "result"},
        "event": {"number": 0},
    }  # fmt: skip
    assert collector.events[2]["fields"]["flotilla_host_id"] == "48"
    assert outcome(batch) == (4, 0, 0)


async def test_numbers_of_a_line_keep_their_digits(collector):
    async with serving(collector) as url:
        await deliver(url, batch_of([b'{"n":12345678901234567890.1000}']))

    assert b'"event":{"n":12345678901234567890.1000}' in collector.asked[0].body


async def test_what_is_no_object_is_a_text_and_what_is_too_long_or_empty_is_refused(collector):
    lines = [*numbered(1), *HOSTILE, b"  "]
    batch = batch_of(lines)
    async with serving(collector) as url:
        await deliver(url, batch)

    texts = {line for line in collector.lines if isinstance(line, str)}
    assert {"not JSON at all", "null", '{"name":"no end', '{"name":"bad utf-8 \ufffd\ufffd"}', '["a","list"]'} <= texts
    too_long, empty = (refusal.reason for refusal in batch.progress.refusals)
    assert too_long.endswith("a request (max_request_bytes) has 1000000")
    assert empty == "an empty line is no event"
    assert outcome(batch) == (len(lines) - 2, 2, 0)


@pytest.mark.parametrize("code", [6, 12, 13, 15])
async def test_a_bad_event_is_found_by_its_number_and_refused_and_those_before_it_may_be_there_twice(collector, code):
    batch = batch_of(numbered(20))
    collector.bad = {13: code}
    async with serving(collector) as url:
        await deliver(url, batch)

    [refusal] = batch.progress.refusals
    assert refusal.line == b'{"number":13}'
    assert refusal.reason == f"status 400, code {code}: Invalid event"
    assert set(numbers(collector)) == set(range(20)) - {13}
    assert outcome(batch) == (19, 1, 13)
    assert len(collector.events) == 19 + 13
    assert len(collector.asked) < 8


async def test_a_number_counted_from_one_finds_the_event_too(collector):
    batch = batch_of(numbered(20))
    collector.bad, collector.counts_from = {13: 6}, 1
    async with serving(collector) as url:
        await deliver(url, batch)

    assert [refusal.line for refusal in batch.progress.refusals] == [b'{"number":13}']
    assert set(numbers(collector)) == set(range(20)) - {13}


async def test_software_that_takes_nothing_of_a_bad_request_gets_every_line(collector):
    batch = batch_of(numbered(20))
    collector.bad, collector.is_atomic = {13: 15}, True
    async with serving(collector) as url:
        await deliver(url, batch)

    assert sorted(numbers(collector)) == sorted(set(range(20)) - {13})


async def test_many_bad_events_are_all_found(collector):
    batch = batch_of(numbered(50))
    collector.bad = dict.fromkeys(range(0, 50, 2), 6)
    async with serving(collector) as url:
        await deliver(url, batch)

    assert set(numbers(collector)) == set(range(1, 50, 2))
    assert outcome(batch)[:2] == (25, 25)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            Answer.of(400, {"text": "Incorrect index", "code": 7, "invalid-event-number": 1}),
            "settings are wrong.*code 7",
        ),
        (Answer.of(400, {"text": "No data", "code": 5}), "settings are wrong.*code 5"),
        (Answer.of(400, {"text": "ACK is disabled", "code": 14}), "settings are wrong.*code 14"),
        (Answer.of(400, {"text": "Invalid data format", "code": 6, "invalid-event-number": 0}), "refuses every line"),
        (Answer.of(401, {"text": "Token is required", "code": 2}), "credentials are not accepted"),
        (Answer.of(403, {"text": "Token disabled", "code": 1}), "credentials are not accepted"),
        (Answer.of(404, {"text": "The requested URL was not found", "code": 404}), "settings are wrong, the url"),
    ],
)
async def test_wrong_settings_bury_no_line(collector, answer, text):
    batch = batch_of(numbered(100))
    collector.always = answer
    async with serving(collector) as url:
        with pytest.raises(DestinationDown, match=text):
            await deliver(url, batch, concurrency=1)

    assert outcome(batch)[:2] == (0, 0)
    assert len(collector.asked) <= 4


@pytest.mark.parametrize(
    "answer",
    [Answer(200, b"<html>please log in</html>"), Answer(200, b""), Answer.of(200, []), Answer.of(200, {"code": 9})],
)
async def test_a_success_that_is_not_splunks_own_word_is_none(collector, answer):
    batch = batch_of(numbered(4))
    collector.faults = [answer]
    async with serving(collector) as url:
        with pytest.raises(DestinationDown, match="not the answer of an event collector"):
            await deliver(url, batch)
        await deliver(url, batch)

    assert outcome(batch) == (4, 0, 4)


async def test_a_busy_one_is_left_alone_and_what_it_took_before_may_be_there_twice(collector):
    batch = batch_of(numbered(4))
    busy = {"text": "Server is busy", "code": 9, "invalid-event-number": 2}
    collector.faults = [Answer.of(503, busy, **{"retry-after": "5"})]
    async with serving(collector) as url:
        with pytest.raises(DestinationDown, match="Server is busy") as down:
            await deliver(url, batch)
        await deliver(url, batch)

    assert down.value.retry_after == 5
    assert outcome(batch) == (4, 0, 2)


async def test_requests_that_are_too_large_are_halved(collector):
    batch = batch_of(numbered(30))
    collector.largest = 800
    async with serving(collector) as url:
        await deliver(url, batch)

    assert sorted(numbers(collector)) == list(range(30))
    assert outcome(batch) == (30, 0, 0)


async def test_an_event_that_is_too_large_alone_is_refused(collector):
    batch = batch_of([*numbered(6), b'{"name":"' + b"x" * 3000 + b'"}', *numbered(2)])
    collector.largest = 1000
    async with serving(collector) as url:
        await deliver(url, batch)

    assert sorted(numbers(collector)) == [0, 0, 1, 1, 2, 3, 4, 5]
    [refusal] = batch.progress.refusals
    assert (len(refusal.line), refusal.reason) == (3011, "status 413: <html>too large</html>")
    assert outcome(batch) == (8, 1, 0)


async def test_requests_stay_below_the_limit(collector):
    async with serving(collector) as url:
        await deliver(url, batch_of(numbered(100)), max_request_bytes=1024)

    assert max(len(asked.raw) for asked in collector.asked) <= 1024
    assert sorted(numbers(collector)) == list(range(100))


async def test_after_an_outage_nothing_is_missing_and_nothing_twice(collector):
    batch = batch_of(numbered(4))
    with pytest.raises(DestinationDown):
        await deliver("http://127.0.0.1:9", batch)
    async with serving(collector) as url:
        await deliver(url, batch)

    assert (numbers(collector), outcome(batch)) == ([0, 1, 2, 3], (4, 0, 0))


@pytest.mark.parametrize("fault", [LOST, DROPPED, SILENT, Answer.of(500, {"text": "Internal server error", "code": 8})])
async def test_lines_without_an_answer_may_be_there_twice(collector, fault):
    batch = batch_of(numbered(4))
    collector.faults = [fault]
    async with serving(collector) as url:
        with pytest.raises(DestinationDown):
            await deliver(url, batch, timeout_seconds=0.5)
        await deliver(url, batch)

    assert outcome(batch) == (4, 0, 4)


async def test_with_acknowledgements_lines_count_when_they_are_indexed(collector):
    batch = batch_of(numbered(4))
    collector.acknowledges = True
    async with serving(collector) as url:
        await deliver(url, batch, acknowledge=True, max_request_lines=2)

    assert set(collector.looks.values()) == {2}
    assert len({asked.headers["x-splunk-request-channel"] for asked in collector.asked}) == 1
    assert outcome(batch) == (4, 0, 0)


async def test_what_is_not_acknowledged_in_time_is_sent_again(collector):
    batch = batch_of(numbered(4))
    collector.acknowledges = collector.stuck = True
    async with serving(collector) as url:
        with pytest.raises(DestinationDown, match=r"did not acknowledge a request within 0\.3 s"):
            await deliver(url, batch, acknowledge=True, acknowledge_seconds=0.3)
        assert outcome(batch) == (0, 0, 0)
        collector.stuck = False
        await deliver(url, batch, acknowledge=True)

    assert outcome(batch) == (4, 0, 4)


async def test_a_token_without_acknowledgements_is_said_to_have_none(collector):
    batch = batch_of(numbered(4))
    async with serving(collector) as url:
        with pytest.raises(DestinationDown, match="turn indexer acknowledgement on"):
            await deliver(url, batch, acknowledge=True)

    assert outcome(batch) == (0, 0, 0)


async def test_a_try_sends_the_line_and_says_where(collector):
    async with serving(collector) as url:
        sink = KIND.open({"url": url, "token": TOKEN})
        place = await sink.try_out(b'{"number":1}')
        await sink.close()
        other = KIND.open({"url": url, "token": "other"})
        with pytest.raises(DestinationDown, match=r"credentials are not accepted.*Invalid token"):
            await other.try_out(b'{"number":1}')
        await other.close()

    assert (numbers(collector), place) == ([1], url)


def test_the_token_is_masked():
    settings = {"url": "https://splunk.example.com:8088", "token": TOKEN}

    found = shown(checked(Destination(name="x", kind="splunk", settings=settings)))

    assert found["settings"]["token"] == MASK
    assert TOKEN not in json.dumps(found)


async def all_settled(deps, delivered: int, dead_lettered: int) -> bool:
    return (await books(deps, "splunk"))[:3] == (delivered, dead_lettered, 0)


async def test_through_failures_in_the_middle_every_line_is_there_and_the_books_say_how_often(
    collector, gateway, deps, shipping
):
    busy = Answer.of(503, {"text": "Server is busy", "code": 9}, **{"retry-after": "0"})
    async with serving(collector) as url:
        collector.faults = [None, LOST, busy, None, LOST]
        collector.bad = {95: 6}
        sink = destination("splunk", {"url": url, "token": TOKEN, "max_request_lines": 10, "concurrency": 2})
        await gateway.send(lines=20, messages=5)
        async with shipping(deps, sink):
            await eventually(lambda: all_settled(deps, delivered=99, dead_lettered=1), timeout=30.0)
        _, _, _, duplicates = await books(deps, "splunk")

    assert not collector.faults
    found = numbers(collector)
    assert set(found) == set(range(100)) - {95}
    assert duplicates == len({number for number in found if found.count(number) > 1})
    assert duplicates > 0

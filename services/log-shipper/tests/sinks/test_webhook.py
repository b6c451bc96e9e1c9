"""The webhook destination, against a stand-in of a receiver (a real HTTP server, `Receiver`)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from pathlib import Path

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.testing import eventually
from flotilla_common.testing.http_standin import DROPPED, LOST, SILENT, Answer, Asked, Standin, serving
from log_shipper.domain.specs import MASK, checked, shown
from log_shipper.errors import DestinationDown
from log_shipper.sinks.webhook import KIND

from ..conftest import Crash
from .http_batches import HOSTILE, batch_of, books, destination, numbered, outcome

DOCUMENT = next(
    folder / "docs/logs/webhook.md" for folder in Path(__file__).parents if (folder / "docs/logs/webhook.md").exists()
)
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


class Receiver(Standin):
    """Stands in for whatever a webhook leads to: keeps lines, refuses what a test says, has a largest request."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []
        self.bad: set[bytes] = set()
        self.largest = 100_000_000

    def answer(self, asked: Asked) -> Answer:
        if len(asked.raw) > self.largest:
            return Answer(413, b"too large")
        lines = asked.body.removesuffix(b"\n").split(b"\n")
        if self.bad & set(lines):
            return Answer(400, b"bad line\x1b[2J in it")
        self.lines += [line for line in lines if b"flotilla_destination_test" not in line]
        return Answer(202)

    @property
    def tests(self) -> int:
        return sum(b"flotilla_destination_test" in asked.body for asked in self.asked)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


async def deliver(url: str, batch, **settings):
    sink = KIND.open({"url": url} | settings)
    try:
        return await sink.deliver(batch, await sink.plan(7, 8, batch.started_at))
    finally:
        await sink.close()


def verifier():
    """What docs/logs/webhook.md tells receivers to do."""
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    return names["verify"]


async def test_lines_arrive_as_hosts_sent_them(receiver):
    batch = batch_of(numbered(10))
    async with serving(receiver) as url:
        await deliver(url + "/hook?key=1", batch, authorization="Bearer t", max_request_lines=4, concurrency=1)

    assert receiver.lines == numbered(10)
    assert outcome(batch) == (10, 0, 0)
    assert [asked.path for asked in receiver.asked] == ["/hook?key=1"] * 3
    assert receiver.asked[0].headers["authorization"] == "Bearer t"
    assert receiver.asked[0].headers["content-type"] == "application/x-ndjson"
    assert "webhook-signature" not in receiver.asked[0].headers


@pytest.mark.parametrize("gzip", [False, True])
async def test_a_receiver_that_verifies_as_documented_takes_ours_and_nothing_else(receiver, gzip):
    async with serving(receiver) as url:
        await deliver(url, batch_of(numbered(3)), secret=SECRET, gzip=gzip)
    [asked] = receiver.asked
    verify = verifier()

    assert verify(SECRET, asked.headers, asked.raw) is True
    assert verify("whsec_" + base64.b64encode(b"other").decode(), asked.headers, asked.raw) is False
    assert verify(SECRET, asked.headers, asked.raw + b" ") is False
    assert verify(SECRET, asked.headers | {"webhook-id": "msg_other"}, asked.raw) is False
    assert verify(SECRET, asked.headers | {"webhook-timestamp": str(int(time.time()) - 3600)}, asked.raw) is False
    assert verify(SECRET, asked.headers | {"webhook-signature": "v1,"}, asked.raw) is False
    assert (asked.raw != asked.body) is gzip


async def test_a_signature_is_the_one_of_the_specification(receiver, monkeypatch):
    """The example of Standard Webhooks' libraries: known secret, id, time and body give a known signature."""
    monkeypatch.setattr("log_shipper.sinks.webhook.time.time", lambda: 1614265330.9)
    sink = KIND.open({"url": "http://x", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})

    headers = sink._signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    await sink.close()

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("form", ["json", "fleet"])
async def test_other_forms_are_one_document_whatever_hosts_send(receiver, form):
    lines = [*numbered(3), *HOSTILE]
    async with serving(receiver) as url:
        await deliver(url, batch_of(lines), format=form)
    [document] = [json.loads(asked.body) for asked in receiver.asked]

    if form == "fleet":
        assert set(document) == {"timestamp", "details"}
        assert document["timestamp"] == "2025-11-24T04:36:40Z"
        document = document["details"]
    assert len(document) == len(lines)
    assert document[:3] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert document[3] == '{"name":"bad utf-8 \ufffd\ufffd"}'
    assert document[5] == "not JSON at all"
    assert document[-1]["name"] == "x" * 5_000_000


async def test_hostile_lines_pass_byte_for_byte(receiver):
    batch = batch_of(HOSTILE)
    async with serving(receiver) as url:
        await deliver(url, batch)

    assert receiver.lines == HOSTILE
    assert outcome(batch) == (len(HOSTILE), 0, 0)


async def test_a_retry_sends_what_is_missing_under_the_same_ids(receiver):
    batch = batch_of(numbered(12))
    receiver.faults = [None, LOST, None]
    async with serving(receiver) as url:
        with pytest.raises(DestinationDown):
            await deliver(url, batch, max_request_lines=3, concurrency=1)
        await deliver(url, batch, max_request_lines=3, concurrency=1)

    ids = [asked.headers["webhook-id"] for asked in receiver.asked]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 4
    assert receiver.asked[1].body == receiver.asked[2].body
    assert outcome(batch) == (12, 0, 3)
    assert len(receiver.lines) == 15


async def test_parts_of_a_request_that_was_too_large_are_the_same_again(receiver):
    batch = batch_of(numbered(6))
    receiver.largest, receiver.faults = 30, [None, None, LOST]
    async with serving(receiver) as url:
        with pytest.raises(DestinationDown):
            await deliver(url, batch, max_request_lines=3, concurrency=1)
        await deliver(url, batch, max_request_lines=3, concurrency=1)

    lost, again = receiver.asked[2:4]
    assert lost.body == again.body == b'{"number":1}\n{"number":2}\n'
    assert lost.headers["webhook-id"] == again.headers["webhook-id"]
    assert outcome(batch) == (6, 0, 2)


async def test_ids_differ_between_batches_and_destinations(receiver):
    async with serving(receiver) as url:
        for fence in ((1, 5), (1, 6), (2, 5)):
            await deliver(url, batch_of(numbered(2), fence=fence))

    assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 3


async def test_a_bad_line_is_found_and_refused_alone(receiver):
    batch = batch_of(numbered(20))
    receiver.bad = {b'{"number":13}'}
    async with serving(receiver) as url:
        await deliver(url, batch)

    assert sorted(receiver.lines) == sorted(set(numbered(20)) - receiver.bad)
    [refusal] = batch.progress.refusals
    assert (refusal.line, refusal.reason) == (b'{"number":13}', "status 400: bad line [2J in it")
    assert outcome(batch) == (19, 1, 0)
    assert receiver.tests == 1


async def test_a_batch_of_one_bad_line_does_not_stop_what_follows(receiver):
    batch = batch_of(numbered(1))
    receiver.bad = set(numbered(1))
    async with serving(receiver) as url:
        await deliver(url, batch)

    assert outcome(batch) == (0, 1, 0)


@pytest.mark.parametrize("status", [400, 404, 405, 401, 403, 302, 413, 422])
async def test_one_that_refuses_everything_is_set_up_wrongly_and_loses_nothing(receiver, status):
    batch = batch_of(numbered(1000))
    receiver.always = Answer(status, b"no")
    async with serving(receiver) as url:
        with pytest.raises(DestinationDown, match=f"status {status}"):
            await deliver(url, batch, concurrency=1)

    assert outcome(batch) == (0, 0, 0)
    assert len(receiver.asked) < 20


async def test_requests_are_halved_until_they_are_taken_and_a_line_that_never_is_is_refused(receiver):
    lines = [*numbered(6), b'{"name":"' + b"x" * 3000 + b'"}', *numbered(6)]
    batch = batch_of(lines)
    receiver.largest = 1000
    async with serving(receiver) as url:
        await deliver(url, batch)

    assert sorted(receiver.lines) == sorted(numbered(6) * 2)
    [refusal] = batch.progress.refusals
    assert refusal.reason == "status 413: too large"


async def test_a_line_longer_than_any_request_is_refused_without_being_sent(receiver):
    batch = batch_of([*numbered(3), b"x" * 2000])
    async with serving(receiver) as url:
        await deliver(url, batch, max_request_bytes=1024)
        await deliver(url, batch, max_request_bytes=1024)

    assert receiver.lines == numbered(3)
    [refusal] = batch.progress.refusals
    assert refusal.reason == "takes 2001 bytes, and a request (max_request_bytes) has 1024"


async def test_a_receiver_that_throttles_says_how_long(receiver):
    batch = batch_of(numbered(4))
    receiver.faults = [Answer(429, b"slow down", {"retry-after": "17"})]
    async with serving(receiver) as url:
        with pytest.raises(DestinationDown, match="429: slow down") as down:
            await deliver(url, batch)
        await deliver(url, batch)

    assert down.value.retry_after == 17
    assert outcome(batch) == (4, 0, 0)


async def test_after_an_outage_nothing_is_missing_and_nothing_twice(receiver):
    batch = batch_of(numbered(4))
    with pytest.raises(DestinationDown):
        await deliver("http://127.0.0.1:9", batch)
    async with serving(receiver) as url:
        await deliver(url, batch)

    assert receiver.lines == numbered(4)
    assert outcome(batch) == (4, 0, 0)


@pytest.mark.parametrize("fault", [DROPPED, SILENT, Answer(502)])
async def test_lines_without_an_answer_may_be_there_twice(receiver, fault):
    batch = batch_of(numbered(4))
    receiver.faults = [fault]
    async with serving(receiver) as url:
        with pytest.raises(DestinationDown):
            await deliver(url, batch, timeout_seconds=0.5)
        await deliver(url, batch)

    assert outcome(batch) == (4, 0, 4)


async def test_a_cancelled_delivery_leaves_what_was_sent_doubtful(receiver):
    batch = batch_of(numbered(4))
    receiver.faults = [None, SILENT]
    async with serving(receiver) as url:
        task = asyncio.create_task(deliver(url, batch, max_request_lines=2, concurrency=1))
        await eventually(lambda: len(receiver.asked) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await deliver(url, batch)

    assert outcome(batch) == (4, 0, 2)


async def test_no_more_requests_than_wanted_go_out_at_once(receiver):
    receiver.faults = [SILENT] * 20
    async with serving(receiver) as url:
        task = asyncio.create_task(deliver(url, batch_of(numbered(20)), max_request_lines=1, concurrency=3))
        await eventually(lambda: len(receiver.asked) == 3)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])

    assert len(receiver.asked) == 3


async def test_a_try_sends_the_line_and_says_where(receiver):
    async with serving(receiver) as url:
        sink = KIND.open({"url": url + "/hook?key=hush"})
        place = await sink.try_out(b'{"a":1}')
        receiver.always = Answer(400, b"no")
        with pytest.raises(DestinationDown, match="it refuses a line: status 400: no"):
            await sink.try_out(b'{"a":1}')
        await sink.close()

    assert receiver.lines == [b'{"a":1}']
    assert place == url + "/hook"


async def test_a_receiver_that_remembers_ids_does_not_know_a_try(receiver):
    """Else it would say yes to the probe without a look at it, and lines that it refuses for its settings be buried."""
    async with serving(receiver) as url:
        for _ in range(2):
            sink = KIND.open({"url": url})
            await sink.try_out(b'{"a":1}')
            await sink.try_out(b'{"a":1}')
            await sink.close()

    assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 4


def test_secrets_are_masked():
    settings = {"url": "https://example.com/hook", "secret": SECRET, "authorization": "Bearer hush"}

    found = shown(checked(Destination(name="x", kind="webhook", settings=settings)))

    assert (found["settings"]["secret"], found["settings"]["authorization"]) == (MASK, MASK)
    assert SECRET not in json.dumps(found)
    assert "hush" not in json.dumps(found)


async def test_through_failures_in_the_middle_every_line_is_there_and_the_books_say_how_often(
    receiver, gateway, deps, shipping
):
    async with serving(receiver) as url:
        receiver.faults = [None, None, LOST, Answer(429, b"", {"retry-after": "0"}), DROPPED, None, Answer(503), LOST]
        receiver.bad = {b'{"number":95}'}
        sink = destination("webhook", {"url": url, "max_request_lines": 10, "concurrency": 2})
        await gateway.send(lines=20, messages=5)
        async with shipping(deps, sink):
            await eventually(lambda: all_settled(deps, delivered=99, dead_lettered=1), timeout=30.0)
        _, _, _, duplicates = await books(deps, "webhook")

    assert not receiver.faults
    assert set(receiver.lines) == set(gateway.sent["result"]) - receiver.bad
    twice = len({line for line in receiver.lines if receiver.lines.count(line) > 1})
    assert twice <= duplicates <= twice + 10  # the request that was cut off before it was read counts too
    assert twice > 0


async def all_settled(deps, delivered: int, dead_lettered: int) -> bool:
    return (await books(deps, "webhook"))[:3] == (delivered, dead_lettered, 0)


async def test_after_a_death_all_of_the_batch_may_be_there_twice(receiver, gateway, deps, shipping):
    async with serving(receiver) as url:
        dying = destination("webhook", {"url": url})

        def die() -> None:
            raise Crash

        dying.after = die
        await gateway.send(lines=6)
        async with shipping(deps, dying):
            await eventually(lambda: dying.batches)
        async with shipping(deps, destination("webhook", {"url": url})):
            await eventually(lambda: all_settled(deps, delivered=6, dead_lettered=0))
        _, _, _, duplicates = await books(deps, "webhook")

    assert len(receiver.lines) == 12
    assert duplicates == 6

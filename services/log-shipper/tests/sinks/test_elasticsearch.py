"""The Elasticsearch destination, against a stand-in of `_bulk` (a real HTTP server, `Cluster`)."""

from __future__ import annotations

import base64
import json

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.errors import Invalid
from flotilla_common.testing import eventually
from flotilla_common.testing.elasticsearch_standin import Cluster
from flotilla_common.testing.http_standin import DROPPED, LOST, SILENT, Answer, Asked, serving
from log_shipper.domain.specs import MASK, checked, shown
from log_shipper.errors import DestinationDown
from log_shipper.sinks.elasticsearch import KIND

from ..conftest import Crash
from .http_batches import HOSTILE, batch_of, books, destination, numbered, outcome


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def deliver(url: str, batch, **settings):
    sink = KIND.open({"url": url, "index": "osquery"} | settings)
    try:
        return await sink.deliver(batch, await sink.plan(7, 8, batch.started_at))
    finally:
        await sink.close()


async def test_a_line_is_a_document_with_the_time_and_the_host_that_it_is_from(cluster):
    batch = batch_of(numbered(4))
    async with serving(cluster) as url:
        await deliver(url, batch, index="osquery-{log_type}-%Y.%m.%d", gzip=True, api_key="a2V5")

    assert {index for index, _ in cluster.documents} == {"osquery-result-2025.11.24"}
    assert next(iter(cluster.documents.values())) == {
        "number": 0,
        "@timestamp": "2025-11-24T04:36:40.123Z",
        "flotilla": {"host_id": 47, "team_id": 3, "log_type": "result"},
    }
    assert cluster.asked[0].headers["authorization"] == "ApiKey a2V5"
    assert cluster.asked[0].headers["content-type"] == "application/x-ndjson"
    assert outcome(batch) == (4, 0, 0)


async def test_a_user_and_a_password_are_another_way_in(cluster):
    async with serving(cluster) as url:
        await deliver(url, batch_of(numbered(1)), username="shipper", password="p:w \u00fc")

    scheme, _, value = cluster.asked[0].headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(value).decode()) == ("Basic", "shipper:p:w \u00fc")


async def test_hostile_lines_are_documents_too(cluster):
    lines = [*numbered(1), *HOSTILE]
    batch = batch_of(lines)
    async with serving(cluster) as url:
        await deliver(url, batch)

    messages = [one.get("message") for one in cluster.documents.values()]
    assert {"not JSON at all", "null", '["a","list"]', '{"name":"a NUL \x00"}', '{"name":"no end'} <= set(messages)
    assert outcome(batch) == (len(lines), 0, 0)


@pytest.mark.parametrize(
    "line",
    [b'{"flotilla":{"host_id":1}}', b'{"flotilla.host_id":1}', b'{"@timestamp":"1970-01-01"}', b'{"@timestamp.x":1}'],
)
async def test_a_host_cannot_pass_for_another_one(cluster, line):
    async with serving(cluster) as url:
        await deliver(url, batch_of([line]))

    [document] = cluster.documents.values()
    assert document["message"] == line.decode()
    assert document["flotilla"]["host_id"] == 48
    assert set(document) == {"message", "@timestamp", "flotilla"}


async def test_numbers_of_a_line_keep_their_digits(cluster):
    async with serving(cluster) as url:
        await deliver(url, batch_of([b'{"n":12345678901234567890.1000}']))

    assert b'"n":12345678901234567890.1000' in cluster.asked[0].body


async def test_documents_that_are_wrong_are_refused_and_those_that_must_wait_are_sent_again_alone(cluster):
    batch = batch_of(numbered(10))
    cluster.statuses = {3: [400], 5: [429, 0], 7: [503, 0], 8: [500, 0]}
    async with serving(cluster) as url:
        with pytest.raises(
            DestinationDown, match=r"3 of 10 lines were not taken: status 429: some_exception: status 429"
        ):
            await deliver(url, batch)
        assert outcome(batch) == (6, 1, 0)
        cluster.statuses = {}
        await deliver(url, batch)

    assert cluster.numbers == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    [refusal] = batch.progress.refusals
    assert (refusal.line, refusal.reason) == (b'{"number":3}', "status 400: some_exception: status 400")
    assert len(cluster.asked[-1].body.splitlines()) == 6
    assert outcome(batch) == (9, 1, 0)


@pytest.mark.parametrize("fault", [LOST, DROPPED, SILENT, Answer(502), Answer(200, b"{}"), Answer(200, b"<html>")])
async def test_a_retry_makes_no_second_document_and_counts_none(cluster, fault):
    batch = batch_of(numbered(4))
    cluster.faults = [fault]
    async with serving(cluster) as url:
        with pytest.raises(DestinationDown):
            await deliver(url, batch, timeout_seconds=0.5)
        await deliver(url, batch)

    assert cluster.numbers == [0, 1, 2, 3]
    assert outcome(batch) == (4, 0, 0)
    assert cluster.conflicts == (4 if fault in (LOST, SILENT) else 0)


async def test_a_success_that_does_not_tell_of_every_document_is_one_for_those_it_tells_of(cluster):
    batch = batch_of(numbered(6))

    class Forgetful(Cluster):
        def answer(self, asked: Asked) -> Answer:
            document = json.loads(super().answer(asked).body)
            document["items"] = [*document["items"][2:], {"create": {"_id": "other", "status": 201}}, 7, {"index": {}}]
            return Answer.of(200, document)

    forgetful = Forgetful()
    async with serving(forgetful) as url:
        with pytest.raises(DestinationDown, match="2 of 6 lines were not taken: the answer does not tell of it"):
            await deliver(url, batch)
    assert outcome(batch) == (4, 0, 0)
    async with serving(cluster) as url:
        await deliver(url, batch)

    assert cluster.numbers == [0, 1]


async def test_a_stream_that_is_made_anew_makes_new_documents(cluster):
    async with serving(cluster) as url:
        await deliver(url, batch_of([b'{"number":0}']))
        await deliver(url, batch_of([b'{"number":1}']))  # the same place in a stream, another line
        await deliver(url, batch_of([b'{"number":1}'], fence=(9, 9)))  # the same line again, by a later batch

    assert cluster.numbers == [0, 1]
    assert cluster.conflicts == 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer.of(401, {"error": "security_exception"}), "credentials are not accepted"),
        (Answer.of(403, {"error": "security_exception"}), "credentials are not accepted"),
        (Answer(404), "settings are wrong, the url most likely"),
        (Answer(400, b"no handler found"), "refuses every line"),
        (Answer(413), "refuses every line"),
        (Answer(307, b"", {"location": "https://else"}), "redirects are not followed"),
    ],
)
async def test_wrong_settings_bury_no_line(cluster, answer, text):
    batch = batch_of(numbered(100))
    cluster.always = answer
    async with serving(cluster) as url:
        with pytest.raises(DestinationDown, match=text):
            await deliver(url, batch, concurrency=1)

    assert outcome(batch) == (0, 0, 0)
    assert len(cluster.asked) < 12


async def test_an_index_that_takes_nothing_buries_no_line_though_another_one_works(cluster):
    batch = batch_of(numbered(10))
    cluster.closed = {"osquery-result"}
    async with serving(cluster) as url:
        with pytest.raises(DestinationDown, match=r"refuses every line.*status 400: some_exception"):
            await deliver(url, batch, index="osquery-{log_type}")

    assert outcome(batch) == (0, 0, 0)


async def test_a_batch_of_wrong_documents_alone_does_not_stop_what_follows(cluster):
    batch = batch_of(numbered(3))
    cluster.statuses = {0: [400], 1: [400], 2: [400]}
    async with serving(cluster) as url:
        await deliver(url, batch)

    assert outcome(batch) == (0, 3, 0)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_blocked_or_missing_index_waits(cluster, status):
    batch = batch_of(numbered(2))
    cluster.statuses = {0: [status], 1: [status]}
    async with serving(cluster) as url:
        with pytest.raises(DestinationDown, match=f"2 of 2 lines were not taken: status {status}"):
            await deliver(url, batch)

    assert outcome(batch) == (0, 0, 0)


async def test_a_cluster_that_throttles_says_how_long(cluster):
    batch = batch_of(numbered(4))
    cluster.faults = [Answer(429, b"es_rejected_execution_exception", {"retry-after": "3"})]
    async with serving(cluster) as url:
        with pytest.raises(DestinationDown, match="es_rejected") as down:
            await deliver(url, batch)
        await deliver(url, batch)

    assert down.value.retry_after == 3
    assert outcome(batch) == (4, 0, 0)


async def test_a_line_longer_than_any_request_is_refused(cluster):
    batch = batch_of([*numbered(3), b"x" * 2000])
    async with serving(cluster) as url:
        await deliver(url, batch, max_request_bytes=1024)

    assert cluster.numbers == [0, 1, 2]
    assert "max_request_bytes" in batch.progress.refusals[0].reason


async def test_requests_are_halved_until_they_are_taken_and_a_line_that_never_is_is_refused(cluster):
    batch = batch_of([*numbered(6), b'{"name":"' + b"x" * 3000 + b'"}', *numbered(2)])
    cluster.largest = 1000
    async with serving(cluster) as url:
        await deliver(url, batch)

    assert cluster.numbers == [0, 0, 1, 1, 2, 3, 4, 5]
    [refusal] = batch.progress.refusals
    assert refusal.reason == "status 413: too large"
    assert outcome(batch) == (8, 1, 0)


async def test_after_an_outage_nothing_is_missing(cluster):
    batch = batch_of(numbered(4))
    with pytest.raises(DestinationDown):
        await deliver("http://127.0.0.1:9", batch)
    async with serving(cluster) as url:
        await deliver(url, batch)

    assert cluster.numbers == [0, 1, 2, 3]


async def test_a_try_sends_the_line_and_says_where(cluster):
    async with serving(cluster) as url:
        sink = KIND.open({"url": url, "index": "osquery"})
        place = await sink.try_out(b'{"number":1}')
        cluster.closed = {"osquery"}
        with pytest.raises(DestinationDown, match="it refuses a line: status 400: some_exception"):
            await sink.try_out(b'{"number":2}')
        await sink.close()

    assert (cluster.numbers, place) == ([1], url)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"index": "Osquery"}, "settings.index: .*lower case"),
        ({"index": "../_all"}, "settings.index"),
        ({"index": "logs-%s"}, "settings.index"),
        ({"index": "logs-{host}"}, "settings.index"),
        ({"username": "u", "api_key": "k"}, "not both"),
        ({"username": "u:v"}, "no colon"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, reason):
    settings = {"url": "https://es.example.com", "index": "osquery"} | change

    with pytest.raises(Invalid, match=reason):
        checked(Destination(name="x", kind="elasticsearch", settings=settings))


def test_secrets_are_masked():
    settings = {"url": "https://es.example.com", "index": "osquery", "username": "u", "password": "hush"}

    found = shown(checked(Destination(name="x", kind="elasticsearch", settings=settings)))

    assert (found["settings"]["password"], found["settings"]["api_key"]) == (MASK, "")
    assert "hush" not in json.dumps(found)


async def all_settled(deps, delivered: int, dead_lettered: int) -> bool:
    return (await books(deps, "elasticsearch"))[:3] == (delivered, dead_lettered, 0)


async def test_through_failures_in_the_middle_every_line_is_there_once(cluster, gateway, deps, shipping):
    settings = {"index": "osquery", "max_request_lines": 10, "concurrency": 2}
    async with serving(cluster) as url:
        cluster.faults = [None, LOST, Answer(429, b"", {"retry-after": "0"}), DROPPED, None, Answer(503), LOST]
        cluster.statuses = {33: [400], 50: [429, 0], 51: [503, 0]}
        sink = destination("elasticsearch", {"url": url} | settings)
        await gateway.send(lines=20, messages=5)
        async with shipping(deps, sink):
            await eventually(lambda: all_settled(deps, delivered=99, dead_lettered=1), timeout=30.0)
        _, _, _, duplicates = await books(deps, "elasticsearch")

    assert not cluster.faults
    assert cluster.conflicts > 0
    assert cluster.numbers == sorted(set(range(100)) - {33})
    assert duplicates == 0


async def test_after_a_death_every_line_is_there_once(cluster, gateway, deps, shipping):
    async with serving(cluster) as url:
        dying = destination("elasticsearch", {"url": url, "index": "osquery"})

        def die() -> None:
            raise Crash

        dying.after = die
        await gateway.send(lines=6)
        async with shipping(deps, dying):
            await eventually(lambda: dying.batches)
        async with shipping(deps, destination("elasticsearch", {"url": url, "index": "osquery"})):
            await eventually(lambda: all_settled(deps, delivered=6, dead_lettered=0))
        _, _, _, duplicates = await books(deps, "elasticsearch")

    assert (cluster.numbers, duplicates, cluster.conflicts) == ([0, 1, 2, 3, 4, 5], 0, 6)

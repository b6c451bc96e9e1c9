"""Lines that hosts should not send, through every kind of destination: delivered as they came, or buried with a reason.

Kafka, webhooks, Splunk and Elasticsearch are the stand-ins of their own tests, Kinesis and Firehose are moto's.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from flotilla_common.contracts.log_dead_letters import DeadLettersV1
from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.testing import eventually
from flotilla_common.testing.elasticsearch_standin import Cluster
from flotilla_common.testing.http_standin import serving
from flotilla_common.testing.kafka_cluster import KafkaCluster
from log_shipper.json_lines import text_of
from log_shipper.sinks import Sink, kind_of, kinds
from log_shipper.sinks.file import FileSink
from log_shipper.sinks.stdout import Output, StdoutSink

from ..conftest import WatchedSink, balanced, lines_in
from .http_batches import HOSTILE
from .record_service import stream_at
from .s3_place import bodies, objects, sink_for
from .test_splunk import TOKEN, Collector
from .test_stdout import Pipe
from .test_webhook import Receiver

# aiohttp finds a body above 1 MiB large; ResourceWarnings are errors in tests alone.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")

HUGE = HOSTILE[-1]
BLANK = b"  "
LINES = [
    b'{"name":"first","columns":{"a":"1"}}',
    *HOSTILE,
    BLANK,
    b'{"name":"newlines","columns":{"path":"one\\ntwo\\r\\n"}}',
    b'{"name":"other ends of lines","columns":{"path":"\xc2\x85 \xe2\x80\xa8 \x7f"}}',
    b'{"name":"returns",\r"columns":{"path":"1"}\r}\r',
    b'{"name":7,"hostIdentifier":5,"unixTime":"soon","counter":"x","columns":{"size":17,"list":[1,"2"]}}',
    b'{"name":"../../nobody knows \xe2\x80\xae this one","columns":{"a":"1"}}',
    b'{"name":"x","columns":"no object","decorations":[1]}',
    b'{"name":"one","name":"two"}',
    b'{"name":"x","epoch":1e999,"counter":123456789012345678901234567890}',
    b'{"n":NaN}',
    b'{"name":"last","columns":{"a":"2"}}',
]
"""One message of each log type has all of them."""


def as_it_came(line: bytes) -> object:
    return line


def value_of(line: bytes) -> object:
    """What a line is in a JSON document: itself, or a text when it is no JSON, or holds half a character."""

    def refuse(_: str) -> object:
        raise ValueError

    try:
        value = json.loads(line.decode(), parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text_of(line)
    return value


def object_or_text(line: bytes) -> object:
    """The same where a document must be an object."""
    value = value_of(line)
    return value if isinstance(value, dict) else text_of(line)


@dataclass(frozen=True)
class Place:
    """A destination: how to look into it, how a line stands there, and which lines it cannot take."""

    sink: Sink
    read: Callable[[], Awaitable[list[object]]]
    stands: Callable[[bytes], object] = as_it_came
    buried: Mapping[bytes, str] = field(default_factory=dict)


Opens = Callable[[Any, Path], AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def to_files(_: Any, directory: Path) -> AsyncIterator[Place]:
    async def read() -> list[object]:
        return [line for log_type in LOG_TYPES for line in lines_in(directory, log_type)]

    yield Place(FileSink(directory), read)


@asynccontextmanager
async def to_stdout(_: Any, directory: Path) -> AsyncIterator[Place]:
    pipe = Pipe()

    async def drain() -> None:
        while True:
            pipe.read()
            await asyncio.sleep(0.01)  # a pipe that is not read holds the writer

    async def read() -> list[object]:
        return [*pipe.read().split(b"\n")[:-1]]

    draining = asyncio.create_task(drain())
    yield Place(StdoutSink(Output(pipe.writer)), read)
    draining.cancel()
    pipe.close()


def to_s3(layout: str) -> Opens:
    @asynccontextmanager
    async def opened(s3: Any, _: Path) -> AsyncIterator[Place]:
        async def read() -> list[object]:
            return [line for body in (await objects(s3)).values() for line in body.split(b"\n")[:-1]]

        yield Place(sink_for(s3, layout=layout), read)

    return opened


@asynccontextmanager
async def to_parquet(s3: Any, _: Path) -> AsyncIterator[Place]:
    async def read() -> list[object]:
        rows = [row for body in (await bodies(s3)).values() for row in pq.read_table(io.BytesIO(body)).to_pylist()]
        return [_said_by(row) for row in rows]

    yield Place(sink_for(s3, format="parquet"), read, value_of)


def _said_by(row: dict[str, Any]) -> object:
    if row["raw"] is not None:
        return value_of(row["raw"])
    columns = row.get("columns")
    return {"name": row["name"]} | ({} if columns is None else {"columns": json.loads(columns)})


def to_webhook(form: str) -> Opens:
    @asynccontextmanager
    async def opened(_: Any, __: Path) -> AsyncIterator[Place]:
        receiver = Receiver()

        async def read() -> list[object]:
            if form == "ndjson":
                return [*receiver.lines]
            documents = [json.loads(asked.body) for asked in receiver.asked]
            return [one for found in documents for one in (found["details"] if form == "fleet" else found)]

        async with serving(receiver) as url:
            sink = kind_of("webhook").open({"url": url, "format": form})
            yield Place(sink, read, as_it_came if form == "ndjson" else value_of)

    return opened


@asynccontextmanager
async def to_kafka(_: Any, __: Path) -> AsyncIterator[Place]:
    cluster = KafkaCluster()
    cluster.create("logs")

    async def read() -> list[object]:
        return [message.value() for message in await cluster.messages("logs")]

    sink = kind_of("kafka").open({"brokers": cluster.brokers, "topic": "logs"})
    yield Place(sink, read, buried={HUGE: "longer than the destination's 999744"})
    cluster.close()


def to_records(kind: str, longest: int, **settings: object) -> Opens:
    @asynccontextmanager
    async def opened(s3: Any, _: Path) -> AsyncIterator[Place]:
        stream = await stream_at(kind, s3.endpoint, s3.bucket)

        async def read() -> list[object]:
            return [*await stream.lines()]

        async with stream.served():
            yield Place(stream.open(**settings), read, buried={HUGE: f"longer than the destination's {longest}"})

    return opened


@asynccontextmanager
async def to_elasticsearch(_: Any, __: Path) -> AsyncIterator[Place]:
    cluster = Cluster()

    async def read() -> list[object]:
        return [_host_s_own(document) for document in cluster.documents.values()]

    async with serving(cluster) as url:
        yield Place(kind_of("elasticsearch").open({"url": url, "index": "osquery"}), read, object_or_text)


def _host_s_own(document: dict[str, Any]) -> object:
    own = {name: value for name, value in document.items() if name not in {"@timestamp", "flotilla"}}
    return own["message"] if set(own) == {"message"} else own


@asynccontextmanager
async def to_splunk(_: Any, __: Path) -> AsyncIterator[Place]:
    collector = Collector()

    async def read() -> list[object]:
        return collector.lines

    buried = {HUGE: "a request (max_request_bytes) has 1000000", BLANK: "an empty line is no event"}
    async with serving(collector) as url:
        yield Place(kind_of("splunk").open({"url": url, "token": TOKEN}), read, object_or_text, buried)


PLACES: dict[str, Opens] = {
    "elasticsearch": to_elasticsearch,
    "file": to_files,
    "firehose": to_records("firehose", 1_023_999),
    "firehose filled": to_records("firehose", 1_023_999, fill_bytes=100_000),
    "kafka": to_kafka,
    "kinesis": to_records("kinesis", 1_048_556),
    "s3 by hour": to_s3("hour"),
    "s3 by query": to_s3("query"),
    "s3 parquet": to_parquet,
    "splunk": to_splunk,
    "stdout": to_stdout,
    "webhook": to_webhook("ndjson"),
    "webhook fleet": to_webhook("fleet"),
    "webhook json": to_webhook("json"),
}


def test_no_kind_is_left_out():
    assert {name.split(" ")[0] for name in PLACES} == set(kinds())


@pytest.mark.parametrize("name", PLACES)
async def test_bad_lines_are_delivered_or_buried_with_the_reason_and_hold_nobody(
    gateway, deps, shipping, bus_for, s3, directory, name
):
    async with PLACES[name](s3, directory) as place:
        watched = WatchedSink(place.sink, name="place", limits=replace(place.sink.limits, batch_seconds=0.05))
        buried = len(place.buried)
        for log_type in LOG_TYPES:
            await gateway.send_lines(LINES, log_type)
        async with shipping(deps, watched):
            await eventually(lambda: settled(deps, len(LINES) - buried, buried), timeout=30.0)
            page = await (await bus_for("admin_api")).request(DeadLettersV1())
        found = await place.read()
        await place.sink.close()

    kept = [place.stands(line) for line in LINES if line not in place.buried] * len(LOG_TYPES)
    assert sorted(map(shown, found)) == sorted(map(shown, kept))
    assert not watched.failures
    assert page.lines == buried * len(LOG_TYPES)
    for why in place.buried.values():
        assert sum(letter.lines for letter in page.letters if why in letter.reason) == len(LOG_TYPES)


async def settled(deps, delivered: int, dead_lettered: int) -> bool:
    entries = await balanced(deps)
    return all(
        (entry.delivered, entry.dead_lettered, entry.pending, entry.duplicates) == (delivered, dead_lettered, 0, 0)
        for entry in (entries["place", log_type] for log_type in LOG_TYPES)
    )


def shown(value: object) -> str:
    """A value that can be sorted and compared; of a long one so much that people can read what differs."""
    text = repr(value)
    return text if len(text) < 500 else f"{text[:60]}… {len(text)} {hashlib.sha256(text.encode()).hexdigest()}"

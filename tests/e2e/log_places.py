"""Where log lines end up in a fault run, read as those would read it whose places they are.

Files and buckets are real. The others are stand-ins on real sockets: a webhook's receiver, Elasticsearch's `_bulk`, and
librdkafka's mock cluster, which keeps topics in memory. Splunk, Kinesis, Firehose and stdout are not here: their kinds
share the code of sending with the webhook, or with each other, and have tests of their own in log-shipper.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from flotilla_common.testing.elasticsearch_standin import Cluster
from flotilla_common.testing.http_standin import DROPPED, LOST, Answer, Asked, Standin, serving
from flotilla_common.testing.kafka_cluster import NOT_ENOUGH_REPLICAS, THROTTLED, KafkaCluster
from obstore.store import S3Store

from .log_hosts import POISON, ids_of
from .shipped import LINE_ID

TOPIC = "osquery"
PARTITIONS = 4
TROUBLES = (None, DROPPED, LOST, Answer(500, b"boom"), Answer(429, headers={"retry-after": "1"}), Answer(503))


class Receiver(Standin):
    """A webhook's receiver. One that is picky refuses a request with a poisonous line in it."""

    def __init__(self, *, is_picky: bool = False) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._is_picky = is_picky

    def answer(self, asked: Asked) -> Answer:
        """Take the lines."""
        self.asked.clear()
        if self._is_picky and POISON.encode() in asked.body:
            return Answer(422, b"there is poison in it")
        self.found.update(ids_of(asked.body))
        return Answer()


class Search(Cluster):
    """Elasticsearch, with a mapping that poisonous lines do not fit."""

    def answer(self, asked: Asked) -> Answer:
        """Take the documents."""
        self.asked.clear()
        return super().answer(asked)

    def _status(self, index: str, name: str, document: dict[str, Any]) -> int:
        return 400 if POISON in str(document.get("columns")) else super()._status(index, name, document)

    @property
    def found(self) -> Counter[str]:
        """The ids of all documents."""
        return Counter(name for document in self.documents.values() for name in document_ids(document))


def document_ids(document: dict[str, Any]) -> list[str]:
    """Return the id of the line that a document is of."""
    decorations = document.get("decorations")
    if isinstance(decorations, dict) and LINE_ID in decorations:
        return [decorations[LINE_ID]]
    return ids_of(str(document.get("message", "")).encode())


class Doorway:
    """A stand-in's address, which can be shut and opened again."""

    def __init__(self, standin: Standin) -> None:
        self.standin = standin
        self.url = ""
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Take connections, at the same port as before."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self.url = await self._stack.enter_async_context(serving(self.standin, port=port))

    async def shut(self) -> None:
        """Cut all connections and take no more."""
        await self._stack.aclose()


@dataclass
class Place:
    """A destination: what it wants, how it is declared, and how to read what it has.

    `replaces`: a line that is sent again takes the place of the first one.
    """

    name: str
    count: Callable[[], Awaitable[Counter[str]]]
    spec: dict[str, Any] = field(default_factory=dict)
    log_type: str = ""
    team: str = ""
    replaces: bool = False


def in_files(directory: Path) -> Counter[str]:
    """Count the lines in files, compressed or not."""
    found: Counter[str] = Counter()
    for path in sorted(directory.rglob("*.log*")):
        content = path.read_bytes()
        found.update(ids_of(gzip.decompress(content) if path.suffix == ".gz" else content))
    return found


def in_objects(store: S3Store, *, ending: str) -> Counter[str]:
    """Count the lines in a bucket's objects whose names end so."""
    found: Counter[str] = Counter()
    for page in store.list():
        for entry in page:
            if entry["path"].endswith(ending):
                content = bytes(store.get(entry["path"]).bytes())
                found.update(in_table(content) if ending == ".parquet" else ids_of(gzip.decompress(content)))
    return found


def in_table(content: bytes) -> list[str]:
    """Return the ids of the lines in a Parquet file."""
    rows = pq.read_table(io.BytesIO(content), columns=["decorations", "raw"]).to_pylist()
    plain = [dict(row["decorations"])[LINE_ID] for row in rows if row["decorations"]]
    return plain + [name for row in rows if not row["decorations"] for name in ids_of(row["raw"] or b"")]


async def in_topic(cluster: KafkaCluster) -> Counter[str]:
    """Count the lines in the topic."""
    return Counter(
        name for message in await cluster.messages(TOPIC, PARTITIONS) for name in ids_of(message.value() or b"")
    )


def trouble(cluster: KafkaCluster) -> None:
    """Have brokers refuse some requests."""
    cluster.answer(NOT_ENOUGH_REPLICAS, 0, THROTTLED, NOT_ENOUGH_REPLICAS)

"""A Kafka topic: one message per line, as the host sent it, its key the host's id; an idempotent producer, acks=all.

Lines go in record batches that are put together here, not by the library's `send`: so what a broker says of a batch is
said of known lines. Headers: `log_type`, `team_id`, `position` (message of LOGS and which line of it, `815-0`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from log_shipper.errors import DestinationDown
from log_shipper.kafka_producer import METADATA_SECONDS, close_producer, open_producer
from log_shipper.sinks import Batch, Kind, Limits, Line, Position, Progress, Refusal, Target

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

MIB = 1024 * 1024
OVERHEAD_BYTES = 256  # of a record batch of one line: 61 of its own, lengths, key, headers
IN_FLIGHT = 64  # partitions that are sent to at the same time
TOPIC = r"^[a-zA-Z0-9._-]{1,249}$"
WORDS = 300


class Settings(BaseModel):
    """Settings of a Kafka destination."""

    model_config = ConfigDict(extra="forbid")

    brokers: str = Field(description="brokers to begin with, comma separated: host:port", min_length=1)
    topic: str = Field(description="topic", pattern=TOPIC)
    topic_status: str = Field("", description="topic of status lines; empty: the same", pattern=rf"{TOPIC}|^$")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    username: str = Field("", description="user name for SASL")
    password: SecretStr = Field(SecretStr(""), description="password for SASL")
    ca_certificate: str = Field("", description="certificates in PEM that brokers are checked by; empty: the system's")
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "zstd", description="none, gzip, snappy, lz4 or zstd"
    )
    max_message_bytes: int = Field(
        1_000_000, description="message.max.bytes of the topic: longer lines are refused", ge=1024, le=64 * MIB
    )
    delivery_seconds: float = Field(
        30.0, description="how long brokers may take for lines, with retries that cannot bring them twice", ge=1, le=600
    )

    @field_validator("brokers")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        found = [one.strip() for one in value.split(",") if one.strip()]
        for one in found:
            host, _, port = one.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError("must be host:port, comma separated")
        if not found:
            raise ValueError("must name one broker at least")
        return ",".join(found)

    @field_validator("ca_certificate")
    @classmethod
    def _is_certificate(cls, value: str) -> str:
        if value:
            try:
                ssl.create_default_context(cadata=value)
            except (ssl.SSLError, ValueError) as error:
                raise ValueError("must be certificates in PEM") from error
        return value

    @model_validator(mode="after")
    def _has_credentials(self) -> Settings:
        if self.security_protocol.startswith("SASL") and not (self.username and self.password.get_secret_value()):
            raise ValueError(f"{self.security_protocol} needs username and password")
        return self


Partition = tuple[str, int]


@dataclass
class Round:
    """One producer's work on lines: what is to be sent alone, and what came of it."""

    progress: Progress
    alone: set[Position] = field(default_factory=set)
    place: str = ""
    is_refused: bool = False
    failure: DestinationDown | None = None


def headers_of(line: Line) -> list[tuple[str, bytes | None]]:
    """Return what a message's headers say of its line."""
    return [
        ("log_type", line.log_type.encode()),
        ("team_id", b"%d" % line.team_id),
        ("position", b"%d-%d" % line.position),
    ]


class KafkaSink:
    """Produces to a topic; the producer is made at the first line, and anew after failures that it cannot mend."""

    replaces = False

    def __init__(self, settings: Settings) -> None:
        self.limits = Limits(
            batch_bytes=8 * MIB,
            batch_lines=10_000,
            batch_seconds=0.2,
            line_bytes=settings.max_message_bytes - OVERHEAD_BYTES,
        )
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def plan(self, first_sequence: int, last_sequence: int, started_at: object) -> Target:
        """There is nothing to decide: a message has no name that a retry could overwrite."""
        del first_sequence, last_sequence, started_at
        return {}

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Produce what is missing. Lines of a record batch that is refused go again, each alone: one is the cause."""
        del target
        alone: set[Position] = set()
        while (await self._round(list(batch.missing()), Round(batch.progress, alone))).is_refused:
            pass
        return []

    async def try_out(self, line: bytes) -> str:
        """Produce this line; return where it stands."""
        progress = Progress()
        found = await self._round([Line(0, 0, "test", 0, 0, 0, line)], Round(progress))
        if progress.refusals:
            raise DestinationDown(progress.refusals[0].reason)
        return found.place

    async def close(self) -> None:
        """Close the connections, also when no broker answers."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer)

    async def _round(self, lines: list[Line], work: Round) -> Round:
        """Produce to all partitions at once, to each in order. Raises DestinationDown."""
        if not lines:
            return work
        is_good = False
        try:
            producer = await self._opened()
            room = asyncio.Semaphore(IN_FLIGHT)
            parts = (await self._by_partition(producer, lines)).items()
            # None is cut off when another fails: its answer would be lost, and its lines sent twice.
            results = await asyncio.gather(
                *(self._send(producer, partition, some, work, room) for partition, some in parts),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            if work.failure is not None:
                raise work.failure
            is_good = not work.is_refused
        finally:
            # A record batch that was not stored leaves a gap in the producer's numbers: brokers refuse the next one.
            if not is_good:
                await self.close()
        return work

    async def _by_partition(self, producer: AIOKafkaProducer, lines: Iterable[Line]) -> dict[Partition, list[Line]]:
        """Sort lines by where they go: a host's to one partition, the one that Java's producer takes for its key."""
        from aiokafka.partitioner import DefaultPartitioner  # noqa: PLC0415 - heavy

        choose = DefaultPartitioner()
        partitions: dict[str, list[int]] = {}
        chosen: dict[tuple[str, int], Partition] = {}
        found: dict[Partition, list[Line]] = {}
        for line in lines:
            topic = (line.log_type == "status" and self._settings.topic_status) or self._settings.topic
            if topic not in partitions:
                partitions[topic] = await self._partitions_of(producer, topic)
            to = chosen.get((topic, line.host_id))
            if to is None:
                number = choose(str(line.host_id).encode(), partitions[topic], partitions[topic])
                to = chosen[topic, line.host_id] = (topic, number)
            found.setdefault(to, []).append(line)
        return found

    async def _partitions_of(self, producer: AIOKafkaProducer, topic: str) -> list[int]:
        from aiokafka.errors import KafkaError, TopicAuthorizationFailedError  # noqa: PLC0415 - heavy

        try:
            async with asyncio.timeout(METADATA_SECONDS):
                return sorted(await producer.partitions_for(topic))
        except TopicAuthorizationFailedError as error:
            raise DestinationDown(f"topic {topic}: this user may not write to it") from error
        except TimeoutError as error:
            raise DestinationDown(f"topic {topic}: brokers know of no such topic, or do not answer") from error
        except KafkaError as error:
            raise DestinationDown(f"topic {topic}: {error}"[:WORDS]) from error

    async def _send(
        self, producer: AIOKafkaProducer, to: Partition, lines: list[Line], work: Round, room: asyncio.Semaphore
    ) -> None:
        """Produce to one partition, one record batch after another, until one fails."""
        async with room:
            rest = iter(lines)
            following = next(rest, None)
            while following is not None and not work.is_refused and work.failure is None:
                builder, sent, following = self._built(producer, following, rest, work.alone)
                if not await self._send_one(producer, to, builder, sent, work):
                    return

    def _built(
        self, producer: AIOKafkaProducer, first: Line, rest: Iterator[Line], alone: set[Position]
    ) -> tuple[Any, list[Line], Line | None]:
        """Return a record batch, its lines, and the line that begins the next."""
        builder = producer.create_batch()
        sent: list[Line] = []
        line: Line | None = first
        while line is not None:
            if sent and (line.position in alone or sent[0].position in alone):
                break
            key = str(line.host_id).encode()
            taken = builder.append(timestamp=line.received_ms, key=key, value=line.raw, headers=headers_of(line))
            if taken is None:  # full; the first always fits
                break
            sent.append(line)
            line = next(rest, None)
        builder.close()
        return builder, sent, line

    async def _send_one(
        self, producer: AIOKafkaProducer, to: Partition, builder: Any, lines: list[Line], work: Round
    ) -> bool:
        """Produce one record batch and note its fate; return whether it is stored."""
        from aiokafka.errors import KafkaError  # noqa: PLC0415 - heavy

        topic, partition = to
        is_sent = False
        try:
            async with asyncio.timeout(self._settings.delivery_seconds):
                stored = await producer.send_batch(builder, topic, partition=partition)
                is_sent = True
                place = await stored
        except TimeoutError:
            work.progress.doubt(lines if is_sent else ())
            seconds = self._settings.delivery_seconds
            work.failure = DestinationDown(f"topic {topic}: brokers did not take lines within {seconds:g} s")
            return False
        except KafkaError as error:
            self._failed(error, topic, lines if is_sent else [], work)
            return False
        except BaseException:
            work.progress.doubt(lines if is_sent else ())
            raise
        work.progress.accept(lines)
        work.place = f"{topic}/{partition}/{place.offset}"
        return True

    def _failed(self, error: Exception, topic: str, lines: list[Line], work: Round) -> None:
        """Note what a broker, or the producer, says of lines that were sent."""
        from aiokafka import errors  # noqa: PLC0415 - heavy

        if isinstance(
            error, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError | errors.InvalidTimestampError
        ):
            work.is_refused = True
            if len(lines) > 1:
                work.alone.update(line.position for line in lines)
            for line in lines if len(lines) == 1 else ():
                size = len(line.raw)
                work.progress.refuse(line, f"topic {topic}: a line of {size} bytes is refused: {error}"[:WORDS])
            return
        if isinstance(error, errors.TopicAuthorizationFailedError | errors.ClusterAuthorizationFailedError):
            work.failure = DestinationDown(f"topic {topic}: this user may not write to it")
        elif isinstance(error, errors.UnknownTopicOrPartitionError | errors.InvalidTopicError):
            work.failure = DestinationDown(f"topic {topic}: brokers know of no such topic")
        else:
            work.progress.doubt(lines)
            work.failure = DestinationDown(f"topic {topic}: {error}"[:WORDS])

    async def _opened(self) -> AIOKafkaProducer:
        """Return the producer, made when there is none."""
        if self._producer is None:
            self._producer = await open_producer(self._settings)
        return self._producer


KIND = Kind(Settings, KafkaSink)

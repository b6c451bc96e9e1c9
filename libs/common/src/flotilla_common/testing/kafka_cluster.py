"""librdkafka's mock cluster: brokers that speak Kafka's protocol over TCP and keep topics in memory.

A stand-in for Kafka: no disk, no replication, no TLS or SASL, no limit of a message's size, no check of a producer's
numbers. Errors are answered where a test says so. It is driven through the C interface that confluent-kafka bundles;
its Python module offers none.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from pathlib import Path

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition

PRODUCE, INIT_PRODUCER_ID = 0, 22  # API keys
UNKNOWN_TOPIC, TOO_LARGE, INVALID_TIMESTAMP, NOT_AUTHORIZED = 3, 10, 32, 29
CLUSTER_NOT_AUTHORIZED, OUT_OF_ORDER, THROTTLED = 31, 45, 89
NOT_ENOUGH_REPLICAS = 19


def _library() -> ctypes.CDLL:
    [path] = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka-*.so*")
    found = ctypes.CDLL(str(path))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in [
        ("conf_new", pointer, []),
        ("new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("destroy", None, [pointer]),
        ("mock_cluster_new", pointer, [pointer, number]),
        ("mock_cluster_destroy", None, [pointer]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_topic_create", number, [pointer, text, number, number]),
        ("mock_topic_set_error", None, [pointer, text, number]),
        ("mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        ("mock_broker_set_rtt", number, [pointer, ctypes.c_int32, number]),
        ("mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, pointer]),
        ("mock_clear_request_errors", None, [pointer, ctypes.c_int16]),
    ]:
        function = getattr(found, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return found


class KafkaCluster:
    """Some brokers."""

    def __init__(self, brokers: int = 2) -> None:
        self._library = _library()
        self._brokers = range(1, brokers + 1)
        words = ctypes.create_string_buffer(512)
        self._handle = self._library.rd_kafka_new(0, self._library.rd_kafka_conf_new(), words, len(words))
        if not self._handle:
            raise RuntimeError(words.value)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, brokers)
        self.brokers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def close(self) -> None:
        """Stop the brokers."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)

    def create(self, topic: str, partitions: int = 4) -> None:
        """Make a topic."""
        if error := self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1):
            raise RuntimeError(f"the mock cluster makes no topic {topic}: error {error}")

    def refuse_topic(self, topic: str, error: int) -> None:
        """Answer an error to whoever asks for the topic; 0: none any more."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), error)

    def answer(self, *errors: int, to: int = PRODUCE) -> None:
        """Answer the next requests so; 0 is no error."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, to, len(errors), array)

    def forget_answers(self, to: int = PRODUCE) -> None:
        """Answer as usual again."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, to)

    def answer_after(self, seconds: float) -> None:
        """Do what is asked at once, and answer so late."""
        for broker in self._brokers:
            self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, int(seconds * 1000))

    def go_down(self) -> None:
        """Close all connections and take no more."""
        for broker in self._brokers:
            self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def come_up(self) -> None:
        """Take connections again."""
        for broker in self._brokers:
            self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    async def messages(self, topic: str, partitions: int = 4) -> list[confluent_kafka.Message]:
        """Read all that is in a topic, with a consumer of librdkafka."""
        return await asyncio.to_thread(self._read, topic, partitions)

    def _read(self, topic: str, partitions: int) -> list[confluent_kafka.Message]:
        consumer = Consumer({
            "bootstrap.servers": self.brokers, "group.id": "reader", "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.message.max.bytes": 20_000_000,
            "receive.message.max.bytes": 100_000_000, "fetch.wait.max.ms": 10, "log_level": 0,
        })  # fmt: skip
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        found: list[confluent_kafka.Message] = []
        ends: set[int | None] = set()
        deadline = time.monotonic() + 10
        while len(ends) < partitions:
            if time.monotonic() > deadline:
                raise TimeoutError("the mock cluster does not answer")
            message = consumer.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                ends.add(message.partition())
        consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

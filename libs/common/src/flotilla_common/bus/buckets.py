"""Key-value buckets: thin words over nats-py's, with outages as `Unavailable`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.kv import KeyValue

from flotilla_common.bus import outage
from flotilla_common.bus.connection import PUBLISH_TIMEOUT_SECONDS, Bus
from flotilla_common.bus.provision import verify_bucket
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from flotilla_common.errors import Unavailable

LISTED_AT_ONCE = 512
LISTING_SECONDS = 5.0


class Bucket:
    """One bucket. Open it with `open_bucket`."""

    def __init__(self, kv: KeyValue, js: JetStreamContext, name: str) -> None:
        self._kv = kv
        self._js = js
        self.name = name

    async def get(self, key: str) -> bytes | None:
        """Return the newest value, None when the key does not exist or was deleted."""
        entry = await self.entry(key)
        return None if entry is None else entry[0]

    async def entry(self, key: str) -> tuple[bytes, int] | None:
        """Return the newest value and its revision."""
        try:
            entry = await self._kv.get(key)
        except (nats.js.errors.KeyNotFoundError, nats.js.errors.KeyDeletedError):
            return None
        except outage.kinds() as error:
            raise Unavailable(f"bucket {self.name}: {error!r}") from error
        return entry.value or b"", entry.revision or 0

    async def put(self, key: str, value: bytes) -> int:
        """Store a value whatever was there before; return its revision."""
        try:
            return await self._kv.put(key, value)
        except outage.kinds() as error:
            raise Unavailable(f"bucket {self.name}: {error!r}") from error

    async def replace(self, key: str, value: bytes, revision: int) -> bool:
        """Store a value if the newest revision is still `revision` (0: the key does not exist); False if it is not.

        A deleted key does not exist either, though the bucket remembers its last revision.
        """
        try:
            if revision == 0:
                await self._kv.create(key, value)
            else:
                await self._kv.update(key, value, last=revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            return False
        except outage.kinds() as error:
            raise Unavailable(f"bucket {self.name}: {error!r}") from error
        return True

    async def delete(self, key: str) -> None:
        """Delete a key; followers see it as a message whose header `KV-Operation` is DEL."""
        try:
            await self._kv.delete(key)
        except outage.kinds() as error:
            raise Unavailable(f"bucket {self.name}: {error!r}") from error

    async def delete_all(self, keys: Iterable[str]) -> None:
        """Delete many keys, without waiting for one before the next is sent; followers see as many messages."""
        headers = {"KV-Operation": "DEL"}
        try:
            futures = [
                await self._js.publish_async(bucket_subject(self.name, key), headers=dict(headers)) for key in keys
            ]
            async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS * 2):
                await asyncio.gather(*futures)
        except outage.kinds(nats.errors.Error, nats.js.errors.Error) as error:
            raise Unavailable(f"bucket {self.name}: {error!r}") from error

    async def keys(self) -> list[str]:
        """Return all keys that exist.

        Not by nats-py's own `keys`: when the server's word that nothing is left overtakes the entries themselves, that
        returns none of them; and each call leaves a consumer behind for minutes.
        """
        try:
            newest = {key_of(message.subject): message for message in await self._list()}
        except outage.kinds(nats.errors.Error, nats.js.errors.Error) as error:
            raise Unavailable(f"bucket {self.name}: {error!r}") from error
        return [key for key, message in newest.items() if not is_delete(message.headers)]

    async def _list(self) -> list[Msg]:
        """Return the newest message of each key, deletions too, without values."""
        stream = bucket_stream(self.name)
        consumer = await self._js.add_consumer(
            stream,
            ConsumerConfig(
                filter_subject=bucket_subject(self.name, ">"),
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
                ack_policy=AckPolicy.NONE,
                headers_only=True,
                mem_storage=True,
                num_replicas=1,
                inactive_threshold=4 * LISTING_SECONDS,
            ),
        )
        pull = await self._js.pull_subscribe_bind(consumer=consumer.name, stream=stream)
        listed: list[Msg] = []
        try:
            pending = consumer.num_pending or 0
            while pending:
                listed += await pull.fetch(min(pending, LISTED_AT_ONCE), timeout=LISTING_SECONDS)
                pending = listed[-1].metadata.num_pending
        finally:
            await pull.unsubscribe()
            await self._js.delete_consumer(stream, consumer.name)
        if listed and listed[-1].metadata.sequence.consumer != len(listed):
            raise Unavailable(f"bucket {self.name}: an entry was lost on the way")
        return listed


async def open_bucket(bus: Bus, name: str) -> Bucket:
    """Bind to a bucket that `make migrate` has made.

    Raises:
        Unavailable: the bus does not answer, or the bucket does not exist or is not as wanted.

    """
    try:
        await verify_bucket(bus, name)
        return Bucket(await bus.js.key_value(name), bus.js, name)
    except outage.kinds(nats.js.errors.Error) as error:
        raise Unavailable(f"bucket {name}: {error!r}") from error


def is_delete(headers: dict[str, str] | None) -> bool:
    """Whether a followed bucket message deletes its key."""
    return (headers or {}).get("KV-Operation") in {"DEL", "PURGE"}


def key_of(subject: str) -> str:
    """Return the key of a followed bucket message's subject."""
    return subject.split(".", 2)[2]

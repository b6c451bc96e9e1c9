"""Key-value buckets: thin words over nats-py's, with outages as `Unavailable`."""

from __future__ import annotations

import nats.js.errors
from nats.js.kv import KeyValue

from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.errors import Unavailable


class Bucket:
    """One bucket. Open it with `open_bucket`."""

    def __init__(self, kv: KeyValue, name: str) -> None:
        self._kv = kv
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

    async def keys(self) -> list[str]:
        """Return all keys that exist."""
        try:
            return await self._kv.keys()
        except nats.js.errors.NoKeysError:
            return []
        except outage.kinds() as error:
            raise Unavailable(f"bucket {self.name}: {error!r}") from error


async def open_bucket(bus: Bus, name: str) -> Bucket:
    """Bind to a bucket that `make migrate` has made.

    Raises:
        Unavailable: the bus does not answer, or the bucket does not exist.

    """
    try:
        return Bucket(await bus.js.key_value(name), name)
    except outage.kinds(nats.js.errors.Error) as error:
        raise Unavailable(f"bucket {name}: {error!r}") from error


def is_delete(headers: dict[str, str] | None) -> bool:
    """Whether a followed bucket message deletes its key."""
    return (headers or {}).get("KV-Operation") in {"DEL", "PURGE"}


def key_of(subject: str) -> str:
    """Return the key of a followed bucket message's subject."""
    return subject.split(".", 2)[2]

"""Objects too large for a bucket, each named by the SHA-256 of its bytes and listed as in NATS object stores.

Whoever names an object by its hash gets those bytes or none. Each part has a subject of its own, named by the hash and
the part's number, and only its newest message is kept: whoever puts the same object at the same time writes the same
parts, and putting it again mends it. What a crash left behind is found by its name and removed like the rest.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime

import nats.js.errors
from nats.js.api import Header, ObjectInfo, ObjectMetaOptions

from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.provision import verify_store
from flotilla_common.contracts.streams import MIB, object_stream
from flotilla_common.errors import Unavailable

CHUNK_BYTES = MIB
_NAME = re.compile(r"[0-9a-f]{64}")
ROLLUP: dict[str, str] = {Header.ROLLUP.value: "sub"}


def digest_of(data: bytes) -> str:
    """Return the name of an object: its SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Objects:
    """One object store that `make migrate` has made."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._js = bus.js
        self._stream = object_stream(name)
        self._name = name
        self._prefix = f"$O.{name}"

    async def put(self, data: bytes) -> str:
        """Store an object unless it can be read; return its name."""
        name = digest_of(data)
        if await self.has(name):
            return name
        pieces = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        try:
            for number, piece in enumerate(pieces):
                await self._js.publish(self._part(name, number), piece, headers=ROLLUP)
            await self._js.publish(self._meta(name), self._describe(name, data, len(pieces)), headers=ROLLUP)
        except outage.kinds(nats.js.errors.Error) as error:
            raise Unavailable(f"object store {self._name}: {error!r}") from error
        return name

    async def has(self, name: str) -> bool:
        """Whether the object can be read: it is there as a whole."""
        return await self.get(name) is not None

    async def get(self, name: str) -> bytes | None:
        """Return an object's bytes; None when it is not there, or not as a whole.

        Any replica may answer the first time. One that lags behind is not believed: the leader is asked then.
        """
        if _NAME.fullmatch(name) is None:
            return None
        data = await self._read(name, direct=True)
        return await self._read(name, direct=False) if data is None else data

    async def delete(self, name: str) -> None:
        """Remove an object and every trace of it."""
        try:
            for subject in (self._meta(name), self._part(name, "*")):
                await self._js.purge_stream(self._stream, subject=subject)
        except outage.kinds(nats.js.errors.Error) as error:
            raise Unavailable(f"object store {self._name}: {error!r}") from error

    async def names(self) -> set[str]:
        """Return all objects, and those of which parts are left."""
        try:
            state = (await self._js.stream_info(self._stream, subjects_filter=">")).state
        except outage.kinds(nats.js.errors.Error) as error:
            raise Unavailable(f"object store {self._name}: {error!r}") from error
        parts = [subject.removeprefix(f"{self._prefix}.").partition(".") for subject in state.subjects or ()]
        return {
            base64.urlsafe_b64decode(name).decode() if kind == "M" else name.partition(".")[0]
            for kind, _, name in parts
        }

    async def _read(self, name: str, *, direct: bool) -> bytes | None:
        try:
            meta = await self._js.get_last_msg(self._stream, self._meta(name), direct=direct)
            pieces: list[bytes] = []
            for number in range(int(json.loads(meta.data or b"{}").get("chunks", 0))):
                part = await self._js.get_last_msg(self._stream, self._part(name, number), direct=direct)
                pieces.append(part.data or b"")
        except nats.js.errors.NotFoundError:
            return None
        except outage.kinds(nats.js.errors.Error) as error:
            raise Unavailable(f"object store {self._name}: {error!r}") from error
        data = b"".join(pieces)
        return data if digest_of(data) == name else None

    def _part(self, name: str, number: int | str) -> str:
        return f"{self._prefix}.C.{name}.{number}"

    def _meta(self, name: str) -> str:
        return f"{self._prefix}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def _describe(self, name: str, data: bytes, chunks: int) -> bytes:
        info = ObjectInfo(
            name=name,
            bucket=self._name,
            nuid=name,
            size=len(data),
            chunks=chunks,
            digest="SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode(),
            mtime=datetime.now(UTC).isoformat(),
            options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES),
        )
        return json.dumps(info.as_dict()).encode()


async def open_objects(bus: Bus, name: str) -> Objects:
    """Return an object store that `make migrate` has made.

    Raises:
        Unavailable: the bus does not answer, or the store is missing or not as wanted.

    """
    await verify_store(bus, name)
    return Objects(bus, name)

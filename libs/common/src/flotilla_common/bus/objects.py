"""Objects too large for a bucket, each named by the SHA-256 of its bytes, in the layout of NATS object stores.

Whoever names an object by its hash gets those bytes or none. All its parts are named by the hash, too, so that what a
crash left behind is found and removed like the rest.
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
        """Store an object unless it is there; return its name."""
        name = digest_of(data)
        if await self.has(name):
            return name
        try:
            await self._js.purge_stream(self._stream, subject=self._chunks(name))  # of a put that was broken off
            pieces = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
            for piece in pieces:
                await self._js.publish(self._chunks(name), piece)
            await self._js.publish(self._meta(name), self._describe(name, data, len(pieces)), headers=ROLLUP)
        except outage.kinds(nats.js.errors.Error) as error:
            raise Unavailable(f"object store {self._name}: {error!r}") from error
        return name

    async def has(self, name: str) -> bool:
        """Whether the object is there."""
        return await self._chunk_count(name) is not None

    async def get(self, name: str) -> bytes | None:
        """Return an object's bytes; None when it is not there, or no longer as a whole."""
        chunks = await self._chunk_count(name)
        pieces: list[bytes] = []
        sequence = 0
        try:
            for _ in range(chunks or 0):
                found = await self._js.get_msg(
                    self._stream, sequence + 1, subject=self._chunks(name), direct=True, next=True
                )
                pieces.append(found.data or b"")
                sequence = found.seq or 0
        except nats.js.errors.NotFoundError:
            return None
        except outage.kinds(nats.js.errors.Error) as error:
            raise Unavailable(f"object store {self._name}: {error!r}") from error
        data = b"".join(pieces)
        return data if chunks is not None and digest_of(data) == name else None

    async def delete(self, name: str) -> None:
        """Remove an object and every trace of it."""
        try:
            for subject in (self._chunks(name), self._meta(name)):
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
        return {base64.urlsafe_b64decode(name).decode() if kind == "M" else name for kind, _, name in parts}

    async def _chunk_count(self, name: str) -> int | None:
        if _NAME.fullmatch(name) is None:
            return None
        try:
            found = await self._js.get_last_msg(self._stream, self._meta(name), direct=True)
        except nats.js.errors.NotFoundError:
            return None
        except outage.kinds(nats.js.errors.Error) as error:
            raise Unavailable(f"object store {self._name}: {error!r}") from error
        return int(json.loads(found.data or b"{}").get("chunks", 0))

    def _chunks(self, name: str) -> str:
        return f"{self._prefix}.C.{name}"

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

"""The blob store: large things that are written once, by one service, and read by others. S3, or a folder.

A folder is for one machine: what it holds has the care of the machine's file system, and readers must see the same one.
An object that was put is on that machine's disk, as one in S3 is in S3: log lines are purged from the bus after that.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, S3Store
from pydantic import Field, SecretStr, field_validator

from flotilla_common.errors import Unavailable
from flotilla_common.settings import CommonSettings

TIMEOUT_SECONDS = 20.0
DELETES_AT_ONCE = 1000


class BlobSettings(CommonSettings):
    """Where the blob store is."""

    blob_url: str = Field(description="the blob store: s3://bucket/prefix or file:///folder")
    blob_endpoint: str = Field("", description="URL of the S3 API; empty: Amazon's")
    blob_region: str = Field("us-east-1", description="region of the bucket")
    blob_access_key: str = Field("", description="access key id; empty: the machine's own role")
    blob_secret_key: SecretStr = Field(SecretStr(""), description="secret access key")

    @field_validator("blob_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if not (parts.scheme == "s3" and parts.netloc) and not (
            parts.scheme == "file" and not parts.netloc and Path(parts.path).is_absolute()
        ):
            message = "neither s3://bucket/prefix nor file:///folder"
            raise ValueError(message)
        return value


class Blobs:
    """One blob store. Names are paths of plain ASCII; an object is there as a whole or not at all."""

    def __init__(self, store: S3Store | LocalStore) -> None:
        self._store = store
        self._folder = Path(str(store.prefix)) if isinstance(store, LocalStore) else None

    async def put(self, name: str, data: bytes) -> None:
        """Store an object for good, in the place of one of the same name.

        Raises:
            Unavailable: the store does not take it.

        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await obstore.put_async(self._store, name, data, use_multipart=False)
                if self._folder is not None:
                    await asyncio.to_thread(_sync, self._folder, name)
        except (BaseError, OSError, TimeoutError) as error:
            raise _outage(name, error) from error

    async def get(self, name: str) -> bytes | None:
        """Return an object's bytes, None when there is none.

        Raises:
            Unavailable: the store does not answer.

        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found = await obstore.get_async(self._store, name)
                return bytes(await found.bytes_async())
        except (FileNotFoundError, NotFoundError):
            return None
        except (BaseError, OSError, TimeoutError) as error:
            raise _outage(name, error) from error

    async def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there are passed over.

        Raises:
            Unavailable: the store does not answer.

        """
        try:
            for name in names:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    try:
                        await obstore.delete_async(self._store, name)
                    except (FileNotFoundError, NotFoundError):
                        continue
        except (BaseError, OSError, TimeoutError) as error:
            raise _outage("delete", error) from error

    async def delete_folder(self, folder: str, limit: int | None = None) -> int:
        """Delete objects below a name, all or about so many; return how many. Fewer than the limit: none is left.

        Raises:
            Unavailable: the store does not answer; some may be gone.

        """
        deleted = 0
        try:
            async for found in obstore.list(
                self._store, f"{folder}/", chunk_size=min(limit or DELETES_AT_ONCE, DELETES_AT_ONCE)
            ):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await obstore.delete_async(self._store, [one["path"] for one in found])
                deleted += len(found)
                if limit is not None and deleted >= limit:
                    break
        except (BaseError, OSError, TimeoutError) as error:
            raise _outage(folder, error) from error
        return deleted


def open_blobs(settings: BlobSettings) -> Blobs:
    """Return the blob store that the settings name. Nothing is asked yet."""
    parts = urlsplit(settings.blob_url)
    if parts.scheme == "file":
        return Blobs(LocalStore(unquote(parts.path), automatic_cleanup=True, mkdir=True))
    given: dict[str, Any] = {
        "endpoint": settings.blob_endpoint,
        "access_key_id": settings.blob_access_key,
        "secret_access_key": settings.blob_secret_key.get_secret_value(),
    }
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        region=settings.blob_region,
        **{name: value for name, value in given.items() if value},  # obstore takes no None
        client_options={"allow_http": True, "timeout": timedelta(seconds=TIMEOUT_SECONDS)},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=5)},
    )
    return Blobs(store)


def _sync(folder: Path, name: str) -> None:
    """Put a file on the disk, and the folders that name it: obstore renames it into place and leaves it at that."""
    path = folder / name
    for one in (path, *list(path.parents)[: len(Path(name).parts)]):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _outage(what: str, error: Exception) -> Unavailable:
    return Unavailable(f"blob store: {what}: {type(error).__name__}: {str(error)[:300]}")

"""Sinks for a bucket, and what is in it."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import obstore
from flotilla_common.contracts.logs import Segment
from log_shipper.sinks import Batch, Chunk
from log_shipper.sinks.s3 import KIND, S3Sink
from obstore.store import S3Store

FIRST = datetime(2026, 11, 24, 5, 59, 59, tzinfo=UTC)
RECEIVED_MS = 1_795_500_000_000


def sink_for(place, **changes) -> S3Sink:
    settings = {
        "endpoint": place.endpoint, "bucket": place.bucket, "access_key": place.key, "secret_key": place.secret,
        "region": place.region,
    }  # fmt: skip
    return KIND.open(settings | changes)


def chunk(sequence: int, *lines: bytes, log_type: str = "result", host_id: int = 7) -> Chunk:
    body = b"".join(line + b"\n" for line in lines)
    segment = Segment(host_id, 3, RECEIVED_MS, len(lines), len(body))
    return Chunk(sequence, log_type, len(lines), body, [segment])


def batch(*chunks: Chunk) -> Batch:
    return Batch((1, 1), chunks[0].sequence, chunks[-1].sequence, FIRST, chunks)


def of_query(name: str, number: int = 0) -> bytes:
    return b'{"name":"%s","number":%d}' % (name.encode(), number)


async def bodies(place) -> dict[str, bytes]:
    """Name -> bytes of all objects."""
    store = S3Store(
        place.bucket, endpoint=place.endpoint, region=place.region, access_key_id=place.key,
        secret_access_key=place.secret, client_options={"allow_http": True},
    )  # fmt: skip
    names = [entry["path"] for entry in await obstore.list(store).collect_async()]
    return {name: bytes(await (await obstore.get_async(store, name)).bytes_async()) for name in names}


async def objects(place) -> dict[str, bytes]:
    """Name -> lines of all objects, which are NDJSON."""
    return {name: gzip.decompress(body) for name, body in (await bodies(place)).items()}

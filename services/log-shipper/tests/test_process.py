"""The real process: killed at any moment, it loses nothing and doubles nothing; told to stop, it stops."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import obstore
import pytest
from flotilla_common.testing import eventually
from obstore.store import S3Store

from .conftest import balanced, lines_in

Environment = dict[str, str]


@pytest.fixture
def environment(service_environment: Callable[[str], Environment], directory) -> Environment:
    return {
        **os.environ, **service_environment("log_shipper"), "FLOTILLA_FILE_DIRECTORY": str(directory),
        "FLOTILLA_BLOB_URL": (directory.parent / "blobs").as_uri(),
        "FLOTILLA_DESTINATIONS": "file,s3", "FLOTILLA_S3_BATCH_SECONDS": "0.2",
    }  # fmt: skip


@asynccontextmanager
async def running(environment: Environment) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "log_shipper", env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


PLAIN: Environment = {}
ROTATED = {
    "FLOTILLA_FILE_ROTATE_BYTES": "1024", "FLOTILLA_FILE_GZIP": "true", "FLOTILLA_FILE_KEEP_FILES": "0",
    "FLOTILLA_S3_LAYOUT": "query",
}  # fmt: skip


@pytest.mark.parametrize("changes", [PLAIN, ROTATED], ids=["plain", "rotated and by query"])
async def test_killed_again_and_again_it_delivers_every_line_once(gateway, deps, environment, directory, s3, changes):
    environment |= changes
    sending = asyncio.create_task(send_for_a_while(gateway))
    for wanted in (1, 150, 300):
        async with running(environment):
            await eventually(lambda least=wanted: len(all_lines_in(directory)) >= least, timeout=30.0)
    await sending
    async with running(environment):

        async def all_settled() -> bool:
            books = await balanced(deps)
            return all(books[name, "result"].delivered == len(gateway.sent["result"]) for name in ("file", "s3"))

        await eventually(all_settled, timeout=30.0)

    assert all_lines_in(directory) == gateway.sent["result"]
    assert await lines_in_bucket(s3) == gateway.sent["result"]


async def test_sigterm_stops_it_within_seconds(environment, gateway, directory):
    async with running(environment) as process:
        await gateway.send()
        await eventually(lambda: lines_in(directory), timeout=30.0)
        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), timeout=20.0) == 0


async def test_an_unknown_destination_is_refused_at_start(environment):
    async with running({**environment, "FLOTILLA_DESTINATIONS": "file,moon"}) as process:
        assert await asyncio.wait_for(process.wait(), timeout=30.0) == 2


def all_lines_in(directory) -> list[bytes]:
    """What stands in the file and in those that were put away, in order; both forms of one are one."""
    stems = sorted({path.name.partition(".log")[0] for path in directory.glob("result-*.log*")})
    away = []
    for stem in stems:
        plain, packed = directory / f"{stem}.log", directory / f"{stem}.log.gz"
        try:
            away.append(plain.read_bytes())
        except FileNotFoundError:  # it has just been compressed
            away.append(gzip.decompress(packed.read_bytes()))
    return [line for body in away for line in body.split(b"\n")[:-1]] + lines_in(directory)


async def test_settings_of_a_destination_that_do_not_go_together_are_refused_at_start(environment):
    half = {"FLOTILLA_DESTINATIONS": "kinesis", "FLOTILLA_KINESIS_STREAM": "x", "FLOTILLA_KINESIS_ACCESS_KEY": "k"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "log_shipper", env=environment | half, stderr=asyncio.subprocess.PIPE
    )

    _, words = await asyncio.wait_for(process.communicate(), timeout=30.0)

    assert process.returncode == 2
    assert b"access_key and secret_key go together" in words


async def send_for_a_while(gateway) -> None:
    for _ in range(150):
        await gateway.send("result", 5)
        await asyncio.sleep(0.03)


async def lines_in_bucket(s3) -> list[bytes]:
    store = S3Store(
        s3.bucket, endpoint=s3.endpoint, region=s3.region, access_key_id=s3.key, secret_access_key=s3.secret,
        client_options={"allow_http": True},
    )  # fmt: skip
    names = sorted(entry["path"] for entry in await obstore.list(store).collect_async())
    parts = [gzip.decompress(bytes(await (await obstore.get_async(store, name)).bytes_async())) for name in names]
    return b"".join(parts).split(b"\n")[:-1]

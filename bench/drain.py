"""A consumer that drains stream LOGS: writes what comes to a file, syncs it, purges: `python -m bench.drain FILE`.

After each batch it prints one JSON line: how many log lines it has seen so far, counted in the bytes themselves, and
when (seconds of the system's monotonic clock, the load client's too).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import structlog
import uvloop
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.pulling import Pull
from flotilla_common.contracts.logs import LINES_HEADER, STREAM
from flotilla_common.settings import CommonSettings
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

CONSUMER = "bench-drain"
BATCH = 64
REQUEST_BYTES = 16 * 1024 * 1024  # the server drops a client that leaves 64 MiB unread
WAIT_SECONDS = 1.0
PURGE_SECONDS = 1.0
FILE_BYTES = 256 * 1024 * 1024  # then it begins anew: a disk should not be filled


async def run(path: Path) -> None:
    """Drain until told to stop."""
    bus = await connect(CommonSettings())
    config = ConsumerConfig(
        durable_name=CONSUMER, ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, inactive_threshold=600
    )
    await bus.js.add_consumer(STREAM, config)
    total, purged_at = 0, time.monotonic()
    with path.open("wb", buffering=0) as file:
        async with Pull(bus, STREAM, CONSUMER, most_bytes=REQUEST_BYTES) as pull:
            say(total)
            while True:
                messages = await pull.take(BATCH, WAIT_SECONDS)
                if not messages:
                    continue
                total += sum(map(lines_of, messages))
                if file.tell() > FILE_BYTES:
                    file.seek(0)
                file.write(b"".join(message.data for message in messages))
                os.fdatasync(file.fileno())
                say(total)
                if time.monotonic() - purged_at > PURGE_SECONDS:
                    purged_at = time.monotonic()
                    await purge(bus, messages[-1].metadata.sequence.stream)


def lines_of(message: Msg) -> int:
    """Return how many log lines a message holds; the gateway's have a manifest on top."""
    has_manifest = message.headers is not None and LINES_HEADER in message.headers
    return message.data.count(b"\n") - has_manifest


async def purge(bus: Bus, sequence: int) -> None:
    """Remove what has been written, as log-shipper does."""
    await bus.js.purge_stream(STREAM, seq=sequence + 1)


def say(total: int) -> None:
    """Report."""
    print(json.dumps({"lines": total, "at": time.monotonic()}), flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # the output is for numbers
    uvloop.install()
    asyncio.run(run(Path(sys.argv[1])))

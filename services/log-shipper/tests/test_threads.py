"""A place that hangs holds its own threads, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from flotilla_common.testing import eventually
from log_shipper.threads import THREADS

from .conftest import lines_in, to_file

HANGING = 12
LOOK_UP = """
import asyncio, os
from log_shipper.threads import make_room_for_names
make_room_for_names()
import uvloop
async def main():
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    print(len(os.listdir("/proc/self/task")))
uvloop.run(main())
"""


def hanging(directory: Path, number: int):
    """A destination whose file never opens: it is a pipe that nobody reads."""
    place = directory / f"hanging{number}"
    place.mkdir(parents=True)
    os.mkfifo(place / "result.log")
    return to_file(place, name=f"hanging{number}")


async def test_destinations_that_hang_hold_no_other(gateway, deps, shipping, directory):
    sinks = [hanging(directory, number) for number in range(HANGING)]
    healthy = to_file(directory / "healthy", name="unhindered")  # the last by name, so that the others begin first
    await gateway.send()
    async with shipping(deps, *sinks, healthy):
        try:
            await eventually(lambda: lines_in(directory / "healthy") == gateway.sent["result"])
        finally:
            readers = [os.open(path, os.O_RDWR) for path in directory.glob("hanging*/result.log")]
            await eventually(lambda: all(sink.failures for sink in sinks))  # a pipe is no file: they go on and say so
    for reader in readers:
        os.close(reader)


async def test_the_threads_that_look_up_names_are_many():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOOK_UP, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    assert int(output) > THREADS

"""What acknowledged log lines survive, for each durability of NATS: a killed server, and a machine that dies.

    sudo .venv/bin/python bench/durability.py [kill|cut|cost ...]      (some eight minutes for all)

`kill` ends nats-server with SIGKILL under load. `cut` is what comes nearest to a power cut without losing a machine:
the server's files are on an ext4 of their own (an image behind a loop device), which is shut down under load by
EXT4_IOC_SHUTDOWN without a flush of its journal: from then on nothing gets to the device, and what was only in memory
is gone. It is mounted again, which replays the journal as after a power cut, and the server starts on what is there.
The device itself is taken to be honest: what a disk with a volatile cache claims to have written is not tested. Needs
root. `cost` compares lines/s. Numbers are made up, lines are not: each has its number, and is looked for afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import random
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nats
import nats.errors
from flotilla_stack.servers import Nats, RunningServer, ServerFailedError
from flotilla_stack.servers.nats import SYNC_INTERVALS, Durability
from nats.js.api import StreamConfig

PARTS = ("kill", "cut", "cost")
LINE_BYTES = 544
LINES = 100  # of a message, as of one POST
IMAGE_BYTES = 1024 * 1024 * 1024
SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH = 2
RATE = 40  # messages/s while a fault is awaited
IN_FLIGHT = 64  # messages, when speed is measured
COST_SECONDS = 4.0

ROUNDS: dict[str, dict[Durability, tuple[int, float, float]]] = {
    "kill": dict.fromkeys(SYNC_INTERVALS, (20, 0.3, 1.5)),
    "cut": {"process": (3, 40.0, 50.0), "interval": (8, 12.0, 26.0), "always": (20, 0.5, 3.0)},
}
"""Rounds, and how long there is load before the fault: at least and at most, in seconds."""


@dataclass(frozen=True)
class Outcome:
    """Of one round."""

    acknowledged: int
    lost: int
    window: float  # age of the oldest line that is lost, at the fault; seconds


class Load:
    """Publishes numbered messages at a rate; remembers when each was acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.acknowledged: dict[int, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Publish for ever (cancel to stop)."""
        client = await nats.connect(self._url, allow_reconnect=False, error_cb=expected)
        js = client.jetstream()
        number = 0
        try:
            while True:
                task = asyncio.create_task(self._publish(js, number))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                number += 1
                await asyncio.sleep(1 / RATE)
        finally:
            for task in self._tasks:
                task.cancel()
            with suppress(nats.errors.Error, OSError):
                await client.close()

    async def _publish(self, js: nats.js.JetStreamContext, number: int) -> None:
        with suppress(nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError):
            await js.publish("logs.result.v1.0", body_of(number), timeout=30.0)
            self.acknowledged[number] = time.monotonic()


def body_of(number: int) -> bytes:
    """Return the lines of one message, each with its number."""
    return b"".join(b"%012d" % (number * LINES + line) + b"x" * (LINE_BYTES - 13) + b"\n" for line in range(LINES))


async def expected(_: Exception) -> None:
    """Say nothing of a connection that breaks: the server is killed on purpose."""


async def make_stream(url: str) -> None:
    """Make a stream as LOGS is."""
    client = await nats.connect(url)
    await client.jetstream().add_stream(StreamConfig(name="LOGS", subjects=["logs.>"], max_bytes=IMAGE_BYTES // 2))
    await client.close()


async def lines_in(url: str) -> set[int]:
    """Return the numbers of all lines that the stream has; empty when there is no stream any more."""
    client = await nats.connect(url)
    js = client.jetstream()
    found: set[int] = set()
    with suppress(nats.js.errors.NotFoundError):
        state = (await js.stream_info("LOGS")).state
        for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
            with suppress(nats.js.errors.NotFoundError):
                message = await js.get_msg("LOGS", sequence)
                found |= {int(line[:12]) for line in (message.data or b"").splitlines()}
    await client.close()
    return found


class Disk:
    """An ext4 of its own."""

    def __init__(self, directory: Path) -> None:
        self._image, self.place = directory / "disk.img", directory / "disk"

    def __enter__(self) -> Disk:
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True)
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()
        self._image.unlink()

    def mount(self) -> None:
        """Mount it, which replays its journal."""
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.place)], check=True)

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", str(self.place)], check=True)

    def cut(self) -> None:
        """From now on nothing gets to the device."""
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)


@contextmanager
def place(fault: str) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """Give a folder, what does harm to it, and what makes it readable again."""
    with tempfile.TemporaryDirectory(prefix="flotilla-durability-") as name:
        if fault != "cut":
            yield Path(name), lambda: None, lambda: None
            return
        with Disk(Path(name)) as disk:

            def repair() -> None:
                disk.unmount()
                disk.mount()

            yield disk.place, disk.cut, repair


def one(fault: str, durability: Durability, seconds: float) -> Outcome:
    """Load, fault, look."""
    with place(fault) as (folder, harm, repair):
        server = RunningServer(Nats(folder / "nats", durability=durability))
        server.start()
        url = server.server.url
        at: list[float] = []
        known: list[dict[int, float]] = []

        async def until_the_fault() -> None:
            await make_stream(url)
            await asyncio.to_thread(
                subprocess.run, ["sync", "-f", str(folder)], check=True
            )  # a stream that was there long before
            load = Load(url)
            task = asyncio.create_task(load.run())
            await asyncio.sleep(seconds)
            known.append(dict(load.acknowledged))  # before: an ack that comes later may be of a dead disk
            at.append(time.monotonic())
            harm()
            os.kill(server.pid, 9)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        try:
            asyncio.run(until_the_fault())
        finally:
            server.stop()  # whatever happens, Ctrl-C too: what it holds open cannot be unmounted
        repair()
        again = RunningServer(Nats(folder / "nats", durability=durability))
        try:
            again.start()
        except ServerFailedError as error:
            reasons = [line for line in str(error).splitlines() if "Healthcheck" not in line]
            print(
                f"{fault:6} {durability:8} the server does not recover the stream:",
                *reasons[-5:],
                sep="\n  ",
                flush=True,
            )
            found = set()
        else:
            found = asyncio.run(lines_in(again.server.url))
        finally:
            again.stop()
    acknowledged = {message * LINES + line: when for message, when in known[0].items() for line in range(LINES)}
    lost = acknowledged.keys() - found
    window = at[0] - min((acknowledged[number] for number in lost), default=at[0])
    return Outcome(len(acknowledged), len(lost), window)


async def speed(url: str) -> float:
    """Return lines/s with so many messages in flight."""
    client = await nats.connect(url)
    js, room = client.jetstream(), asyncio.Semaphore(IN_FLIGHT)
    body, count = body_of(0) * 4, 0
    end = time.monotonic() + COST_SECONDS

    async def publish() -> None:
        nonlocal count
        async with room:
            if time.monotonic() < end:
                await js.publish("logs.result.v1.0", body, timeout=30.0)
                count += LINES * 4

    begun = time.monotonic()
    while time.monotonic() < end:
        await asyncio.gather(*(publish() for _ in range(IN_FLIGHT)))
    taken = time.monotonic() - begun
    await client.close()
    return count / taken


def cost(rounds: int = 3) -> None:
    """Print lines/s of each durability, in turns."""
    found: dict[str, list[float]] = {name: [] for name in SYNC_INTERVALS}
    for number in range(rounds):
        for durability in random.sample(list(SYNC_INTERVALS), len(SYNC_INTERVALS)):
            with tempfile.TemporaryDirectory(prefix="flotilla-durability-", dir="/var/tmp") as name:
                with RunningServer(Nats(Path(name) / "nats", durability=durability)) as server:
                    asyncio.run(make_stream_of_any_size(server.url))
                    found[durability].append(asyncio.run(speed(server.url)))
        print(f"cost   round {number + 1}: " + ", ".join(f"{name} {each[-1]:,.0f}" for name, each in found.items()))
    base = statistics.median(found["process"])
    for name, each in found.items():
        middle = statistics.median(each)
        print(f"cost   {name:8} {middle:10,.0f} lines/s   {middle / base:.2f} of process", flush=True)


async def make_stream_of_any_size(url: str) -> None:
    """Make a stream that drops the oldest, so that it is never full."""
    client = await nats.connect(url)
    await client.jetstream().add_stream(StreamConfig(name="LOGS", subjects=["logs.>"], max_bytes=IMAGE_BYTES))
    await client.close()


def faults(fault: str, only: Durability | None) -> None:
    """Print what was lost, for each durability."""
    for durability, (rounds, least, most) in ROUNDS[fault].items():
        if only not in {None, durability}:
            continue
        outcomes = [one(fault, durability, random.uniform(least, most)) for _ in range(rounds)]
        lost = [outcome.lost for outcome in outcomes]
        print(
            f"{fault:6} {durability:8} {rounds:3} rounds, {sum(o.acknowledged for o in outcomes):8,} acknowledged,"
            f" lost {sum(lost):7,} in {sum(map(bool, lost)):2} rounds, most {max(lost):7,}"
            f" ({max(o.window for o in outcomes):6.2f} s)",
            flush=True,
        )


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="kill|cut|cost", help="what is measured (all)")
    parser.add_argument("--only", choices=[*SYNC_INTERVALS], help="the durability that kill and cut look at alone")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - {*PARTS}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    parts = [part for part in PARTS if part in chosen.parts] or PARTS
    if "cut" in parts and os.geteuid():
        parser.error("cut needs root, for a loop device; without it: kill cost")
    for part in parts:
        if part == "cost":
            cost()
        else:
            faults(part, chosen.only)


if __name__ == "__main__":
    main()

"""`run`: start everything, seed, print the screen, and wait until told to stop."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2

from flotilla_stack import control
from flotilla_stack.client import SeedError
from flotilla_stack.home import Home, HomeError, hold, open_home
from flotilla_stack.layout import Layout, lay_out
from flotilla_stack.output import Console
from flotilla_stack.papers import write_dev, write_papers
from flotilla_stack.parts import edge_part, provision_part, server_parts, service_part, services, simulator_part
from flotilla_stack.screen import may_enroll, screen
from flotilla_stack.seed import Seeded, seed
from flotilla_stack.servers.nats import Durability
from flotilla_stack.supervisor import NotReadyError, Supervisor, stop_event, supervised

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What a person may choose."""

    home: Path
    hosts: int
    gateway_workers: int
    verbose: bool
    durability: Durability = "interval"


class StoppedError(Exception):
    """Somebody asked us to stop before we were ready."""


def run(options: Options) -> int:
    """Run until stopped and return the exit status."""
    console = Console(verbose=options.verbose)
    try:
        home = open_home(options.home)
        with hold(home):
            return asyncio.run(run_in(home, options, console))
    except HomeError as error:
        console.say(str(error))
        return 1


async def run_in(home: Home, options: Options, console: Console) -> int:
    """Start, wait, stop."""
    started = time.monotonic()
    stopping = stop_event()
    home.dev.unlink(missing_ok=True)  # it describes a running stack only
    console.say(f"Starting Flotilla in {home.path} ...")
    go_on = home.simulator.exists()
    status = 0
    async with supervised_home(home, console) as supervisor:
        try:
            at = await asyncio.to_thread(lay_out, home, workers=options.gateway_workers, durability=options.durability)
            seeded = await unless(stopping, bring_up(at, supervisor))
            if options.hosts and may_enroll(at, seeded):
                supervisor.add([simulator_part(at, options.hosts)])
            supervisor.on_change = lambda: write_dev(at, supervisor, seeded)
            supervisor.on_change()
            seconds = time.monotonic() - started
            console.say(screen(at, seeded, console, seconds=seconds, hosts=options.hosts, go_on=go_on))
            failure = await unless(stopping, supervisor.failed())
            console.say(f"Stopping everything, because a part cannot go on: {failure}")
            status = 1
        except StoppedError:
            console.say("Stopping ...")
        except (NotReadyError, SeedError, RuntimeError, httpx2.HTTPError) as error:
            console.say(f"Flotilla could not start: {error}")
            status = 1
        finally:
            supervisor.on_change = lambda: None
            home.dev.unlink(missing_ok=True)
    console.say("Stopped.")
    return status


@contextlib.asynccontextmanager
async def supervised_home(home: Home, console: Console) -> AsyncIterator[Supervisor]:
    """Give a supervisor that listens to `ctl`."""
    async with supervised(console, home.logs) as supervisor, control.listen(home.control, supervisor):
        yield supervisor


async def bring_up(at: Layout, supervisor: Supervisor) -> Seeded:
    """Start all parts, side by side where nothing stands between them, and seed."""
    supervisor.add(
        [
            *server_parts(at),
            provision_part(at),
            *(service_part(at, service) for service in services(at)),
            edge_part(at),
        ]
    )
    await supervisor.all_ready()
    found = await asyncio.to_thread(at.nats.synced)
    if found != at.nats.durability:
        raise RuntimeError(f"NATS keeps what it acknowledged as {found}, not as {at.nats.durability}")
    seeded = await asyncio.to_thread(seed, at)
    write_papers(at, seeded)
    return seeded


async def unless(stopping: asyncio.Event, work: Awaitable[T]) -> T:
    """Await the work, and give it up when asked to stop.

    Raises:
        StoppedError: asked to stop.

    """
    task = asyncio.ensure_future(work)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    raise StoppedError

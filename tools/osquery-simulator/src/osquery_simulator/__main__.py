"""Run a fleet from the command line."""

import asyncio
import resource
import signal
import sys

from osquery_simulator import arguments
from osquery_simulator.report import summary
from osquery_simulator.simulator import Simulator

SOCKETS_PER_HOST = 6


def main() -> int:
    """Run until told to stop."""
    order = arguments.parse()
    _raise_file_limit(order.settings.hosts * SOCKETS_PER_HOST + 100)
    asyncio.run(_run(order))
    return 0


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


async def _run(order: arguments.Order) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Simulator(order.settings) as fleet:
        printing = asyncio.create_task(_print_for_ever(fleet, order.report_every_seconds))
        try:
            await fleet.run_until(stopped, order.duration_seconds)
        finally:
            printing.cancel()
    _print(fleet)


async def _print_for_ever(fleet: Simulator, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        fleet.write_files()
        _print(fleet)


def _print(fleet: Simulator) -> None:
    report = fleet.report()
    print(
        f"{report['hosts_enrolled']} of {report['hosts']} hosts enrolled",
        summary(report, fleet.lines()),
        sep="\n",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

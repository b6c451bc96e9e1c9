"""The command line: `python -m flotilla_stack run` and `python -m flotilla_stack ctl COMMAND NAME`."""

import argparse
import sys
from pathlib import Path

from flotilla_stack import control
from flotilla_stack.home import Home, default_home
from flotilla_stack.run import Options, run
from flotilla_stack.servers.nats import SYNC_INTERVALS

WORKERS_LIMIT = 16
CTL_HELP = """\
commands:
  status [NAME]   what runs, with pids and restarts
  stop NAME       stop one part and leave it stopped
  start NAME      start it again and wait until it is ready
  pause NAME      freeze it (SIGSTOP)
  resume NAME     let it go on (SIGCONT)
  kill NAME       kill it (SIGKILL) and leave it dead until `start`
"""


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument(
        "--home",
        type=Path,
        default=default_home(),
        metavar="DIR",
        help="where data, keys and logs are (default: $FLOTILLA_HOME, else .flotilla here)",
    )
    top = argparse.ArgumentParser(prog="stack", description="Flotilla on one machine, without Docker.")
    commands = top.add_subparsers(dest="action", required=True, metavar="run|ctl")
    running = commands.add_parser(
        "run", parents=[home], help="start everything and stay until Ctrl-C", description=run.__doc__
    )
    running.add_argument("--hosts", type=int, default=20, metavar="N", help="simulated hosts (default: 20)")
    running.add_argument("--without-simulator", action="store_true", help="no simulated hosts")
    running.add_argument(
        "--gateway-workers", type=worker_count, default=1, metavar="N", help="processes of each gateway (default: 1)"
    )
    running.add_argument(
        "--durability",
        choices=list(SYNC_INTERVALS),
        default="interval",
        help="what acknowledged logs survive: the death of NATS (process), of the machine but for the last seconds"
        " (interval, the default), or of the machine (always)",
    )
    running.add_argument("-v", "--verbose", action="store_true", help="show every log line, not only warnings")
    ctl = commands.add_parser(
        "ctl",
        parents=[home],
        help="act on one part of the running stack",
        epilog=CTL_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ctl.add_argument("command", choices=control.COMMANDS, metavar="COMMAND")
    ctl.add_argument("name", nargs="?", metavar="NAME")
    return top


def worker_count(text: str) -> int:
    """Read a number of workers; the usual health ports of a gateway have room for so many.

    Raises:
        ValueError: it is none.

    """
    count = int(text)
    if not 1 <= count <= WORKERS_LIMIT:
        raise ValueError(text)
    return count


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, do it, and return the exit status."""
    chosen = parser().parse_args(arguments)
    home = chosen.home.absolute()
    if chosen.action == "run":
        hosts = 0 if chosen.without_simulator else max(chosen.hosts, 0)
        workers, durability = chosen.gateway_workers, chosen.durability
        return run(Options(home, hosts, gateway_workers=workers, verbose=chosen.verbose, durability=durability))
    try:
        print(control.ask(Home(home).control, chosen.command, chosen.name)["text"])
    except control.ControlError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

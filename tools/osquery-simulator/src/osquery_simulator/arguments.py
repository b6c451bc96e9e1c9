"""The command line: what can be said, and how it becomes settings."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from osquery_simulator.flags import OBEYED, specifications
from osquery_simulator.profiles import NAMES
from osquery_simulator.settings import SimulatorSettings

DESCRIPTION = """\
Pretend to be a fleet of osquery hosts. Each host enrolls, fetches its configuration, runs the scheduled queries on
its own tables, sends result and status logs, and answers live queries, all as a stock osqueryd does it on the wire: a
new TLS connection for every request, the same members in the same order, the same retries, the same idea of success.
"""

EXAMPLES = """\
examples:
  twenty hosts against a server on this machine
    python -m osquery_simulator --url https://127.0.0.1:8443 --ca-file ca.pem --enroll-secret-file secret.txt --hosts 20

  a chosen mix that survives its own restart, ten times faster than real hosts
    python -m osquery_simulator ... --profiles ubuntu=10,windows=5 --state-dir hosts --interval-scale 0.1

  a minute of load with an exact account of every log line
    python -m osquery_simulator ... --hosts 500 --start-spread 20 --duration 60 --account a.json --report r.json

  hosts with other osquery flags; each --flag stands for --name=value on osqueryd's command line
    python -m osquery_simulator ... --flag config_refresh=10 --flag logger_tls_compress=true

Every 10 seconds and at the end the figures are printed. SIGTERM or Ctrl-C ends the run cleanly.
"""


@dataclass(frozen=True)
class Order:
    """What the command line asks for: the fleet, and how long it lives."""

    settings: SimulatorSettings
    duration_seconds: float | None
    report_every_seconds: float


def parser() -> argparse.ArgumentParser:
    """Build the parser with its teaching help."""
    shape = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("osquery_simulator", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=shape)
    _add_server(made.add_argument_group("the server"))
    _add_fleet(made.add_argument_group("the fleet"))
    _add_client(made.add_argument_group("the client"))
    _add_run(made.add_argument_group("the run"))
    return made


def _add_server(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--url", default="https://127.0.0.1:8443", help="where the hosts' door is (%(default)s)")
    group.add_argument("--path-prefix", default="/api/v1/osquery", help="what stands before /enroll (%(default)s)")
    group.add_argument("--ca-file", type=Path, help="PEM bundle to verify the server with; without it the system's")
    group.add_argument("--insecure", action="store_true", help="do not verify the server's certificate")
    secret = group.add_mutually_exclusive_group(required=True)
    secret.add_argument("--enroll-secret", help="the enroll secret itself")
    secret.add_argument(
        "--enroll-secret-file", type=Path, help="a file that holds it; white space around it is cut off"
    )


def _add_fleet(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--hosts", type=int, help="how many hosts (the sum of --profiles, or 1)")
    group.add_argument("--profiles", type=_profiles, default={}, metavar="NAME=N,...", help=f"of {', '.join(NAMES)}")
    group.add_argument("--seed", default="flotilla", help="the same seed and index make the same host (%(default)s)")
    group.add_argument("--first-index", type=int, default=0, help="index of the first host, to split a fleet (0)")
    group.add_argument("--state-dir", type=Path, help="keep node keys, waiting lines and query results here")


def _add_client(group: argparse._ArgumentGroup) -> None:
    flag_help = f"an osquery flag, may be repeated; those that matter: {', '.join(OBEYED)}"
    group.add_argument("--flag", type=_flag, action="append", default=[], metavar="NAME=VALUE", help=flag_help)
    group.add_argument("--keep-alive", action="store_true", help="keep connections, as osqueryd 3.4.0 to 4.0.2 did")
    group.add_argument("--no-authorization", action="store_true", help="no Authorization header, as older clients")
    group.add_argument("--etag", action="store_true", help="conditional configuration requests, as the newest clients")
    group.add_argument("--accept-gzip", action="store_true", help="ask for compressed answers (--tls_accept_gzip)")
    group.add_argument("--interval-scale", type=float, default=1.0, help="multiply every pause, e.g. 0.1 (1)")


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--duration", type=float, metavar="S", help="stop after so many seconds (never)")
    group.add_argument(
        "--start-spread", type=float, default=0.0, metavar="S", help="start hosts over so many seconds (0)"
    )
    group.add_argument("--account", type=Path, metavar="FILE", help="number all lines and write what became of them")
    group.add_argument("--account-limit", type=int, default=1_000_000, help="most ids to write down (%(default)s)")
    group.add_argument("--number-lines", action="store_true", help="give lines an id even without --account")
    group.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    group.add_argument("--hosts-report", type=Path, metavar="FILE", help="write what each host holds, as JSON")
    group.add_argument("--report-every", type=float, default=10.0, metavar="S", help="seconds between figures (10)")


def parse(arguments: list[str] | None = None) -> Order:
    """Read the command line, or end the program with a message about what is wrong with it."""
    made = parser()
    said = made.parse_args(arguments)
    hosts = said.hosts if said.hosts is not None else sum(said.profiles.values()) or 1
    if said.profiles and sum(said.profiles.values()) != hosts:
        made.error(f"--profiles add up to {sum(said.profiles.values())} hosts, --hosts says {hosts}")
    if said.ca_file is not None and not said.ca_file.is_file():
        made.error(f"--ca-file {said.ca_file} is no file")
    if said.interval_scale <= 0:
        made.error("--interval-scale has to be above 0")
    try:
        secret = said.enroll_secret or said.enroll_secret_file.read_text("utf-8").strip()
    except OSError as error:
        made.error(f"cannot read the enroll secret: {error}")
    settings = SimulatorSettings(
        url=said.url,
        path_prefix=said.path_prefix.rstrip("/"),
        enroll_secret=secret,
        ca_file=said.ca_file,
        is_verified=not said.insecure,
        hosts=hosts,
        first_index=said.first_index,
        profiles=said.profiles,
        seed=said.seed,
        state_dir=said.state_dir,
        flags=dict(said.flag),
        keep_alive=said.keep_alive,
        sends_authorization=not said.no_authorization,
        uses_etag=said.etag,
        accepts_gzip=said.accept_gzip,
        interval_scale=said.interval_scale,
        start_spread_seconds=said.start_spread,
        numbers_lines=said.number_lines or said.account is not None,
        account_file=said.account,
        account_limit=said.account_limit,
        report_file=said.report,
        hosts_file=said.hosts_report,
    )
    return Order(settings, said.duration, said.report_every)


def _profiles(text: str) -> dict[str, int]:
    wanted = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in NAMES or not number.isdigit():
            raise argparse.ArgumentTypeError(f"{part!r} is not like ubuntu=10 (names: {', '.join(NAMES)})")
        wanted[name] = int(number)
    return wanted


def _flag(text: str) -> tuple[str, str]:
    name, separator, value = text.lstrip("-").partition("=")
    if not separator or name not in specifications():
        raise argparse.ArgumentTypeError(f"{text!r} is not like config_refresh=10, with the name of an osquery flag")
    return name, value

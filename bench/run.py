"""`make bench`: measure, print a table, write results/latest.json. Ends with 1 when a limit is not met."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
sys.path.insert(0, str(ROOT))

from flotilla_stack.testing import RunningStack  # noqa: E402 - after the path of this package

from bench import measures  # noqa: E402
from bench.door.measure import PARTS as DOOR  # noqa: E402
from bench.door.measure import measure as measure_door  # noqa: E402
from bench.live.measure import PARTS as LIVE  # noqa: E402
from bench.live.measure import measure as measure_live  # noqa: E402
from bench.rounds import Pace  # noqa: E402
from bench.rows import HEAD, Row  # noqa: E402
from bench.shipping.measure import PARTS as SHIPPING  # noqa: E402
from bench.shipping.measure import measure as measure_shipping  # noqa: E402

WHOLE_SECONDS = 720
STACK = ("starts", "people")
LONG = ("viewer", "crowd", "pressure", *SHIPPING)
"""Parts that the twelve minutes have no room for: only who names them waits. Each alone has results of its own."""
GROUPS = {"stack": STACK, "door": tuple(DOOR), "live": tuple(part for part in LIVE if part not in LONG)}
PARTS = tuple(part for group in GROUPS.values() for part in group)
GROUPS["shipping"] = tuple(SHIPPING)
WHAT = {
    "starts": "two starts of `make run`, memory of 20 idle hosts",
    "people": "edits of agent options, live queries off and on, live queries on 50 hosts",
    "polls": "polls and configs over new TLS connections",
    "kept": "polls over 6,000 kept TLS connections",
    "plain": "polls over kept plain connections, as behind a balancer",
    "logs": "result logs until they are on disk",
    "writes": "answers of hosts to live queries",
    "memory": "a gateway's memory, by known host and by connection",
    "campaigns": "empty polls while campaigns are open",
    "workers": "two processes of a gateway",
    "settling": "answers through one live-query",
    "reach": "start of a campaign at 100,000 hosts, memory per campaign",
    "viewer": "5,000 hosts' answers at a viewer's WebSocket",
    "crowd": "2,000 campaigns at once",
    "pressure": "Valkey without memory, a slow viewer",
    "s3": "log lines to S3, on one core",
    "pipeline": "log lines from a host to a file",
    "pending": "ten million log lines for a destination that is paused",
    "outage": "a destination that is gone for five minutes",
    "reports": "query reports of log-shipper",
}
"""What each part measures, for --help."""


def main() -> int:
    """Run the parts that are asked for: all of them but the long ones, unless --only says which."""
    chosen = arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parts = chosen.only or PARTS
    pace = Pace(seconds=chosen.seconds, rounds=chosen.rounds)
    begun = time.monotonic()
    rows = measures.cold() if chosen.cold else []
    with tempfile.TemporaryDirectory(prefix="flotilla-bench-") as name:
        directory = Path(name)
        rows += stack(parts, directory)
        door_parts = [part for part in DOOR if part in parts]
        if door_parts:
            rows += measure_door(door_parts, directory / "door", pace)
        live_parts = [part for part in LIVE if part in parts]
        if live_parts:
            rows += measure_live(live_parts, directory / "live")
        shipping_parts = [part for part in SHIPPING if part in parts]
        if shipping_parts:
            rows += measure_shipping(shipping_parts, directory / "shipping")
    seconds = time.monotonic() - begun
    if parts == PARTS and not chosen.cold:
        rows.append(Row("the whole run", seconds, "s", WHOLE_SECONDS, f"{len(rows)} figures"))
    show(rows)
    print(f"\ntook {seconds:.0f} s")
    keep(rows, name_of(parts))
    return 0 if all(row.is_met for row in rows) else 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "make bench ARGS=...", description=__doc__, epilog=guide(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cold", action="store_true", help="also start a fresh clone without cached packages")
    parser.add_argument(
        "--only", type=parts_of, metavar="NAME,...", help="parts or groups to run (default: all but the long ones)"
    )
    parser.add_argument(
        "--seconds", type=float, default=Pace.seconds, help="length of each run of a load (default: %(default)g)"
    )
    parser.add_argument(
        "--rounds", type=int, default=Pace.rounds, help="how many runs; their median counts (default: %(default)d)"
    )
    return parser.parse_args()


def guide() -> str:
    """Return what --help says below the options: the parts, how long they take, where results go."""
    lines = ["parts, by group:"]
    for group, parts in GROUPS.items():
        long = " (minutes each, run only when they are named)" if group == "shipping" else ""
        lines += [f"  {group}{long}", *(f"    {part:<11}{WHAT[part]}" for part in parts)]
    lines += ["  in no group (minutes each, run only when they are named)"]
    lines += [f"    {part:<11}{WHAT[part]}" for part in LONG if part not in SHIPPING]
    return "\n".join(
        [
            *lines,
            "",
            "All but the long ones take about twelve minutes on two cores; with --only, a part takes its share.",
            "Results go to bench/results/: latest.json of a whole run, PART.json of one long part, else partial.json.",
            "`make figures` writes them into the README. What each figure is, and is not: bench/README.md.",
        ]
    )


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts that a list of parts and groups names.

    Raises:
        ArgumentTypeError: there is no such part.

    """
    parts = [part for name in text.split(",") for part in GROUPS.get(name, (name,))]
    if unknown := set(parts) - {*PARTS, *LONG}:
        known = ", ".join((*GROUPS, *PARTS, *LONG))
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {known}")
    return tuple(parts)


def name_of(parts: tuple[str, ...]) -> str:
    """Return the file of results: what a whole run and a long part find is kept, and shown in the README."""
    if set(parts) == set(PARTS):
        return "latest"
    return parts[0] if len(parts) == 1 and parts[0] in LONG else "partial"


def stack(parts: tuple[str, ...], directory: Path) -> Iterator[Row]:
    """Measure the whole system as `make run` starts it."""
    if "starts" in parts:
        print("starting twice, and 20 idle hosts ...", flush=True)
        yield from measures.starts(directory / "idle")
    if "people" in parts:
        with RunningStack(directory / "busy", "--without-simulator") as running:
            print("edits ...", flush=True)
            yield from measures.edits(running)
            print("live queries off and on ...", flush=True)
            yield from measures.halts(running)
            print("live queries ...", flush=True)
            yield from measures.live_queries(running, directory)


def show(rows: list[Row]) -> None:
    """Print the table."""
    print(f"\n{HEAD}")
    for row in rows:
        print(row.to_text())


def keep(rows: list[Row], name: str) -> None:
    """Write the results, and what machine they hold for."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "rows": [row.to_json() for row in rows],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())

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

STACK = ("starts", "people")
LONG = ("viewer", "crowd", "pressure", "reports")
"""Parts that take minutes each: only who names them waits for them."""
GROUPS = {"stack": STACK, "door": tuple(DOOR), "live": tuple(part for part in LIVE if part not in LONG)}
GROUPS["shipping"] = tuple(part for part in SHIPPING if part not in LONG)
PARTS = tuple(part for group in GROUPS.values() for part in group)


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
    show(rows)
    print(f"\ntook {time.monotonic() - begun:.0f} s")
    keep(rows, "latest" if set(parts) == set(PARTS) else "partial")
    return 0 if all(row.is_met for row in rows) else 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("--cold", action="store_true", help="also start a fresh clone without cached packages")
    known = ", ".join((*GROUPS, *PARTS, *LONG))
    parser.add_argument("--only", type=parts_of, help=f"parts to run, comma separated, of: {known}")
    parser.add_argument("--seconds", type=float, default=Pace.seconds, help="of each run of a load")
    parser.add_argument("--rounds", type=int, default=Pace.rounds, help="of which the median counts")
    return parser.parse_args()


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

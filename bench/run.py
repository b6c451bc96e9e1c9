"""`make bench`: measure, print a table, write results/latest.json. Ends with 1 when a limit is not met."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "latest.json"
sys.path.insert(0, str(ROOT))

from flotilla_stack.testing import RunningStack  # noqa: E402 - after the path of this package

from bench import measures  # noqa: E402
from bench.measures import Row  # noqa: E402


def main() -> int:
    """Run all measures."""
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("--cold", action="store_true", help="also start a fresh clone without cached packages")
    chosen = parser.parse_args()
    rows = measures.cold() if chosen.cold else []
    with tempfile.TemporaryDirectory(prefix="flotilla-bench-") as name:
        directory = Path(name)
        print("starting twice, and 20 idle hosts ...", flush=True)
        rows += measures.starts(directory / "idle")
        with RunningStack(directory / "busy", "--without-simulator") as stack:
            print("edits ...", flush=True)
            rows += measures.edits(stack)
            print("live queries ...", flush=True)
            rows += measures.live_queries(stack, directory)
    show(rows)
    keep(rows)
    return 0 if all(row.is_met for row in rows) else 1


def show(rows: list[Row]) -> None:
    """Print the table."""
    print(f"\n{'measure':<58} {'figure':>10} {'limit':>8}  in proportion")
    for row in rows:
        verdict = "" if row.is_met else "  NOT MET"
        print(f"{row.measure:<58} {row.figure:>8.2f} {row.unit:<3}{row.limit:>7.0f}  {row.ratio}{verdict}")


def keep(rows: list[Row]) -> None:
    """Write the results, and what machine they hold for."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "rows": [row.to_json() for row in rows],
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(f"\nwritten to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())

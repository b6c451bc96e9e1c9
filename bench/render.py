"""Write the figures of `results/` into the README, between its two marks: `make figures`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: make figures -->\n", "<!-- end of figures -->\n"
FIRST = "latest"  # the whole run; the others are of parts that run only when they are named
HEAD = "| measure | figure | limit | | in proportion |\n|---|---|---|---|---|\n"


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and contents of each file of results: the whole run, then the parts by name."""
    names = sorted(path.stem for path in RESULTS.glob("*.json") if path.stem not in {FIRST, "partial"})
    for name in (FIRST, *names):
        yield name, json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def figures() -> str:
    """Return the tables."""
    return "\n".join("".join(table(name, document)) for name, document in documents())


def table(name: str, document: dict[str, Any]) -> Iterator[str]:
    """Yield one file's table: where it comes from, then its rows."""
    day = datetime.fromisoformat(document["measured_at"]).date()
    command = "make bench" if name == FIRST else f'make bench ARGS="--only={name}"'
    yield f"`{command}`, {day}, {document['machine']['cores']} cores (`bench/results/{name}.json`):\n\n{HEAD}"
    for row in document["rows"]:
        figure = f"{number(row['figure'])} {row['unit']}"
        yield f"| {row['measure']} | {figure} | {limit(row)} | {verdict(row)} | {row['ratio']} |\n"


def number(value: float | None) -> str:
    """Return a figure with three digits or all of its whole ones."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def limit(row: dict[str, Any]) -> str:
    """Return what is asked for, with its direction."""
    if row["limit"] is None:
        return ""
    return f"{'≥' if row['at_least'] else '≤'} {number(row['limit'])}"


def verdict(row: dict[str, Any]) -> str:
    """Return whether it is met, and if not, by how much it is missed."""
    if row["figure"] is None:
        return "not measured"
    if row["met"]:
        return "" if row["limit"] is None else "met"
    if not row["limit"]:
        return "**missed**"
    return f"**missed: {row['figure'] / row['limit']:.2f} x the limit**"


def rendered(readme: str) -> str:
    """Return a README with the figures of today.

    Raises:
        ValueError: it has no place for them.

    """
    start, end = readme.index(BEGIN) + len(BEGIN), readme.index(END)
    return f"{readme[:start]}\n{figures()}\n{readme[end:]}"


def main() -> int:
    """Write the README."""
    README.write_text(rendered(README.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

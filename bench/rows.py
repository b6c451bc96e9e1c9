"""The table: what a row says, how it is printed and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` compares within the same run.

    `limit` is what the figure must not exceed, or must reach (`at_least`); None where nothing is asked. A row without a
    figure was not measured: `ratio` says why, and it is not met.
    """

    measure: str
    figure: float | None
    unit: str
    limit: float | None
    ratio: str = ""
    at_least: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps to its limit."""
        if self.figure is None:
            return False
        if self.limit is None:
            return True
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Return the row with its verdict."""
        figure = None if self.figure is None else round(self.figure, 3)
        return {**asdict(self), "figure": figure, "met": self.is_met}

    def to_text(self) -> str:
        """Return the row as one line of the table."""
        figure = "-" if self.figure is None else f"{self.figure:.2f}"
        sign = ">=" if self.at_least else "<="
        limit = "" if self.limit is None else f"{sign} {self.limit:g}"
        verdict = "" if self.is_met else "  NOT MEASURED" if self.figure is None else "  NOT MET"
        return f"{self.measure:<66} {figure:>10} {self.unit:<5}{limit:>10}  {self.ratio}{verdict}"


HEAD = f"{'measure':<66} {'figure':>10} {'':<5}{'limit':>10}  in proportion"

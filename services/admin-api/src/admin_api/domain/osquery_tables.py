"""osquery's tables on all platforms, as its specifications have them (main branch of August 2026; `data/README.md`)."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Column:
    """One column; `*` leaves hidden ones out."""

    name: str
    type: str
    hidden: bool = False


@dataclass(frozen=True)
class Table:
    """One table; `required` are the columns of which a query has to give one, else osquery answers no rows."""

    name: str
    columns: tuple[Column, ...]
    required: frozenset[str] = frozenset()
    evented: bool = False
    column_aliases: tuple[tuple[str, str], ...] = ()

    def column(self, name: str) -> str:
        """Return a column's first name: osquery takes its older names, too."""
        return dict(self.column_aliases).get(name, name)

    def knows(self, name: str) -> bool:
        """Whether there is such a column; the row id counts."""
        return name == "rowid" or any(column.name == self.column(name) for column in self.columns)


@functools.cache
def tables() -> dict[str, Table]:
    """Return the tables by name, in lower case. A name that a table had once leads to the table of today.

    Where another table bears that name as well (`yara`), both are one here, with the columns of both.
    """
    given = json.loads((resources.files("admin_api") / "data" / "osquery_tables.json").read_text("utf-8"))
    found = {name: _table(name, entry, given) for name, entry in given.items()}
    older = {alias: found[name] for name, entry in given.items() for alias in entry.get("aliases", ())}
    return found | older


def _table(name: str, entry: dict[str, list[list[object]]], given: dict[str, dict[str, list[list[object]]]]) -> Table:
    both = [entry, *(given[alias] for alias in map(str, entry.get("aliases", ())) if alias in given)]
    columns = {str(column[0]): (str(column[1]), _options(column)) for part in both for column in part["columns"]}
    return Table(
        name=name,
        columns=tuple(Column(key, kind, bool(options.get("hidden"))) for key, (kind, options) in columns.items()),
        required=frozenset(key for key, (_, options) in columns.items() if options.get("required")),
        evented=bool(entry.get("evented")),
        column_aliases=tuple((old, key) for key, (_, options) in columns.items() for old in options.get("aliases", ())),
    )


def _options(column: list[object]) -> dict[str, list[str]]:
    options = column[2] if len(column) > 2 else {}
    return options if isinstance(options, dict) else {}


def first_name(name: str) -> str:
    """Return a table's first name, in lower case; an unknown table's own."""
    table = tables().get(name.lower())
    return name.lower() if table is None else table.name

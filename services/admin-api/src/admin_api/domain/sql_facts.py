"""What SQL touches, from both readings: what SQLite says counts, and tables that only its tree names count, too."""

from __future__ import annotations

from dataclasses import dataclass

from admin_api.domain.osquery_tables import first_name, tables
from admin_api.domain.sql_authorizer import Touched, touched_by
from admin_api.domain.sql_tree import named_tables

LONGEST_REASON = 300  # characters of what SQLite says; it repeats the SQL


@dataclass(frozen=True)
class SqlFacts:
    """Names in lower case, tables and columns by their first names; columns as `table.column`.

    `changes` are kinds of statement that do more than read (`ATTACH`). `unreadable` says why SQLite does not take the
    SQL, empty if it does; then the other lists may lack something.
    """

    tables: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    unreadable: str = ""
    warnings: tuple[str, ...] = ()


def facts_of(sql: str) -> SqlFacts:
    """Read SQL both ways; hostile SQL may take any time and memory (`sql_reader.py` bounds both)."""
    touched = touched_by(sql)
    named = named_tables(sql) or frozenset()
    return SqlFacts(
        tables=tuple(sorted({first_name(name) for name in touched.tables | named})),
        columns=tuple(sorted({_column(table, column) for table, column in touched.columns})),
        functions=tuple(sorted(touched.functions)),
        changes=tuple(sorted(touched.changes)),
        unreadable=touched.unreadable[:LONGEST_REASON],
        warnings=tuple(_warnings(touched)),
    )


def _column(table: str, column: str) -> str:
    known = tables().get(table)
    return f"{table}.{column}" if known is None else f"{known.name}.{known.column(column)}"


def _warnings(touched: Touched) -> list[str]:
    if touched.changes:
        return [f"it does more than read ({', '.join(sorted(touched.changes))}): hosts may refuse it"]
    if touched.unreadable:
        return [f"no host may be able to run this: {touched.unreadable[:LONGEST_REASON]}"]
    found = [
        f"{name} is evented: it has what the host recorded while its events were on, else nothing"
        for name in sorted(touched.tables)
        if name in tables() and tables()[name].evented
    ]
    for name in sorted(touched.whole):
        required = " or ".join(sorted(tables()[name].required))
        found.append(f"{name} is asked for without {required} in a WHERE or JOIN: hosts answer no rows from it")
    missing = ", ".join(sorted(touched.missing_columns))[:LONGEST_REASON]
    if missing:
        found.append(f"osquery's tables in this query have no column {missing}: hosts answer an error")
    return found

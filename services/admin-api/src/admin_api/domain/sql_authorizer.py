"""The first reading of SQL: real SQLite prepares it over osquery's tables, all empty, and says what it would touch.

Nothing is run. Tables are virtual ones with hidden columns, as in osquery, and stand in schema `temp`, where osquery
has them; each is made when the SQL asks for it. What is not of osquery (tables, columns and functions of extensions,
views of a host) is made up at need, since a host may well have it. What SQLite refuses even so is unreadable.

A table counts as soon as SQLite looks for it. Reads of columns come from the authorizer, and from the tables
themselves: the columns that a join names in `USING`, and the arguments of `table('x')`, are told to the table alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import apsw
import apsw.ext

from admin_api.domain.osquery_tables import Column, Table, tables

MOST_REPAIRS = 500  # tables, columns and functions made while one text is read
MOST_HEAP_BYTES = 64 * 1024 * 1024
CATALOGUES = {"sqlite_master", "sqlite_temp_master"}  # changed by CREATE and DROP before anything else
READS = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE}
FIXING = {  # operators by which a query gives a required column
    apsw.SQLITE_INDEX_CONSTRAINT_EQ,
    apsw.SQLITE_INDEX_CONSTRAINT_IS,
    apsw.SQLITE_INDEX_CONSTRAINT_LIKE,
    apsw.SQLITE_INDEX_CONSTRAINT_GLOB,
    apsw.SQLITE_INDEX_CONSTRAINT_MATCH,
    apsw.SQLITE_INDEX_CONSTRAINT_REGEXP,
}
WHOLE, BY_KEY = 1, 0  # numbers of plans: without any required column, or not
LAST_BIT = 63  # SQLite tells the use of later columns by this one
ARGUMENTS = tuple(Column(f"flotilla_argument_{number}", "TEXT", hidden=True) for number in range(1, 9))
"""Hidden columns of tables that are unknown here, so that they may be asked as functions."""

_NO_TABLE = re.compile(r"no such table: (?:(main|temp)\.)?(.+)", re.DOTALL)
_NO_COLUMN = re.compile(r"no such column: (?:.*\.)?([^.]+)", re.DOTALL)
_NO_JOIN_COLUMN = re.compile(r"cannot join using column (.+) - column not present in both tables", re.DOTALL)
_NO_FUNCTION = re.compile(r"no such function: (.+)", re.DOTALL)
_NO_COLLATION = re.compile(r"no such collation sequence: (.+)", re.DOTALL)
_WHOLE_PLAN = re.compile(rf"VIRTUAL TABLE INDEX {WHOLE}:(\w+)")  # only osquery's tables have it


@dataclass
class Touched:
    """What SQL would touch; names in lower case, tables by the name that the SQL says."""

    tables: set[str] = field(default_factory=set)
    columns: set[tuple[str, str]] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)  # whatever is no reading: ATTACH, PRAGMA, INSERT
    whole: set[str] = field(default_factory=set)  # tables asked for without any column that they require
    missing_columns: set[str] = field(default_factory=set)  # that no table of osquery in the SQL has
    unreadable: str = ""


class _Asked:
    """One empty table, which notes what is asked of it."""

    def __init__(self, name: str, columns: tuple[Column, ...], required: frozenset[str], touched: Touched) -> None:
        self._name, self._columns, self._required, self._touched = name, columns, required, touched

    def BestIndexObject(self, info: apsw.IndexInfo) -> bool:  # noqa: N802 - the name that apsw calls
        """Note columns, and how good a plan this is: osquery answers no rows without a required column."""
        asked = {info.get_aConstraint_iColumn(index) for index in range(info.nConstraint)}
        self._note(asked | info.colUsed | self._arguments(asked))
        given = [index for index in range(info.nConstraint) if self._gives(info, index)]
        for position, index in enumerate(given, start=1):
            info.set_aConstraintUsage_argvIndex(index, position)
        info.idxNum = WHOLE if self._required and not given else BY_KEY
        info.idxStr = self._name
        info.estimatedCost = 1.0 if given else 1e9
        return True

    def Disconnect(self) -> None:  # noqa: N802
        """Nothing is held."""

    Destroy = Disconnect

    def _gives(self, info: apsw.IndexInfo, index: int) -> bool:
        number = info.get_aConstraint_iColumn(index)
        usable = info.get_aConstraint_usable(index) and info.get_aConstraint_op(index) in FIXING
        return usable and 0 <= number < len(self._columns) and self._columns[number].name in self._required

    def _arguments(self, asked: Iterable[int]) -> set[int]:
        """Return all hidden columns if one was given that the SQL does not name: `table('argument')`.

        Which one an argument means depends on the release of osquery.
        """
        hidden = {number for number, column in enumerate(self._columns) if column.hidden}
        named = {number for number in hidden if (self._name, self._columns[number].name) in self._touched.columns}
        return hidden if (hidden - named).intersection(asked) else set()

    def _note(self, numbers: Iterable[int]) -> None:
        self._touched.tables.add(self._name)
        for number in numbers:
            last = len(self._columns) if number == LAST_BIT else number + 1
            for column in self._columns[max(number, 0) : last]:
                self._touched.columns.add((self._name, column.name.lower()))


class _Source:
    """Makes tables for SQLite."""

    def __init__(self, reading: _Reading) -> None:
        self._reading = reading

    def Create(self, _: apsw.Connection, __: str, ___: str, name: str, *____: str) -> tuple[str, _Asked]:  # noqa: N802
        """Declare the columns of a table."""
        return self._reading.declared(name)

    Connect = Create


class _Reading:
    """One text, read over a database of its own."""

    def __init__(self) -> None:
        self.touched = Touched()
        self._made: dict[tuple[str, str], None] = {}
        self._extra: dict[str, list[Column]] = {}
        self._connection = apsw.Connection(":memory:")
        self._connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 1)
        self._connection.create_module("osquery", _Source(self), use_bestindex_object=True)  # type: ignore[arg-type]

    def close(self) -> None:
        self._connection.close()

    def declared(self, name: str) -> tuple[str, _Asked]:
        table, extra = tables().get(name.lower()), tuple(self._extra.get(name.lower(), ()))
        columns = (*(_columns_of(table) if table else ARGUMENTS), *extra)
        shown = columns if any(not column.hidden for column in columns) else (*columns, Column("flotilla_row", "TEXT"))
        words = (f"{_quoted(c.name)} {c.type} {'HIDDEN' if c.hidden else ''}" for c in shown)
        required = table.required if table else frozenset()
        return f"CREATE TABLE x({', '.join(words)})", _Asked(name.lower(), shown, required, self.touched)

    def read(self, sql: str) -> None:
        rest: str | None = sql
        while rest and rest.strip():
            rest = self._read_first(rest)

    def _read_first(self, sql: str) -> str | None:
        for _ in range(MOST_REPAIRS):
            try:
                details = self._prepared(sql)
            except apsw.Error as error:
                if not self._repair(str(error)):
                    raise
            else:
                self._note_plan(details.query_plan)
                return details.query_remaining
        raise apsw.SQLError("it names too many tables, columns and functions")

    def _prepared(self, sql: str) -> apsw.ext.QueryDetails:
        self._connection.authorizer = self._authorize
        try:
            return apsw.ext.query_info(self._connection, sql, explain_query_plan=True)
        finally:
            self._connection.authorizer = None

    def _authorize(self, action: int, first: str | None, second: str | None, schema: str | None, _: str | None) -> int:
        if action not in READS:
            name = str(apsw.mapping_authorizer_function[action]).removeprefix("SQLITE_")
            self.touched.changes.add("CREATE or DROP" if first in CATALOGUES else name)
            return apsw.SQLITE_DENY
        if action == apsw.SQLITE_FUNCTION and second:
            self.touched.functions.add(second.lower())
        if action == apsw.SQLITE_READ and first and schema:  # without one it is a table that the SQL defines itself
            self.touched.tables.add(first.lower())
            if second:
                self.touched.columns.add((first.lower(), second.lower()))
        return apsw.SQLITE_OK

    def _repair(self, complaint: str) -> bool:
        """Make what is missing; False if it cannot be made."""
        repairs: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
            (_NO_TABLE, lambda found: self._make_table(found[1] or "temp", found[2])),
            (_NO_COLUMN, lambda found: self._make_column(found[1])),
            (_NO_JOIN_COLUMN, lambda found: self._make_column(found[1])),
            (_NO_FUNCTION, lambda found: self._make_function(found[1])),
            (_NO_COLLATION, lambda found: self._make_collation(found[1])),
        )
        for pattern, repair in repairs:
            found = pattern.fullmatch(complaint)
            if found is not None:
                return repair(found)
        return False

    def _make_table(self, schema: str, name: str) -> bool:
        if (schema, name.lower()) in self._made:
            return False
        self._made[schema, name.lower()] = None
        self.touched.tables.add(name.lower())  # even if this SQLite would then leave it out, and another may not
        self._connection.execute(f"CREATE VIRTUAL TABLE {schema}.{_quoted(name)} USING osquery")
        return True

    def _make_column(self, name: str) -> bool:
        unknown = [made for made in self._made if made[1] not in tables()]
        changed = unknown[:1] or list(self._made)[:1]
        wider = [made for made in (unknown or list(self._made)) if not self._has(made[1], name)]
        if not changed or not wider:
            return False
        if not unknown:
            self.touched.missing_columns.add(name.lower())
        for schema, table in wider:
            self._extra.setdefault(table, []).append(Column(name, "TEXT"))
            self._connection.execute(f"DROP TABLE {schema}.{_quoted(table)}")
            self._connection.execute(f"CREATE VIRTUAL TABLE {schema}.{_quoted(table)} USING osquery")
        return True

    def _has(self, table: str, column: str) -> bool:
        return any(extra.name.lower() == column.lower() for extra in self._extra.get(table, ()))

    def _make_function(self, name: str) -> bool:
        self._connection.create_scalar_function(name, lambda *_: None)
        return True

    def _make_collation(self, name: str) -> bool:
        self._connection.create_collation(name, lambda _, __: 0)
        return True

    def _note_plan(self, plan: apsw.ext.QueryPlan | None) -> None:
        if plan is None:
            return
        found = _WHOLE_PLAN.search(plan.detail)
        if found is not None:
            self.touched.whole.add(found[1])
        for below in plan.sub or ():
            self._note_plan(below)


def _columns_of(table: Table) -> tuple[Column, ...]:
    return (*table.columns, *(Column(old, "TEXT", hidden=True) for old, _ in table.column_aliases))


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def touched_by(sql: str) -> Touched:
    """Read SQL, all statements of it. Takes time and memory as the SQL pleases: the caller bounds both."""
    apsw.hard_heap_limit(MOST_HEAP_BYTES)
    reading = _Reading()
    try:
        reading.read(sql)
    except (apsw.Error, ValueError, MemoryError) as error:
        reading.touched.unreadable = str(error) or type(error).__name__
    finally:
        reading.close()
    return reading.touched

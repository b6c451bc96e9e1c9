"""The second reading of SQL: which tables sqlglot's tree of it names, whether or not SQLite would touch them."""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError


def named_tables(sql: str) -> frozenset[str] | None:
    """Return the tables that the SQL names, in lower case; None if it cannot be parsed.

    Tables that it defines itself (`WITH`) do not count, unless a schema is said: `main.x` is never one of these.
    """
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="sqlite") if statement is not None]
        return frozenset(name.lower() for statement in statements for name in _of_statement(statement))
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, IndexError, KeyError):
        # SQLite's own reading decides; whatever this parser trips over, it is a second look only.
        return None


def _of_statement(statement: exp.Expr) -> Iterator[str]:
    own = {cte.alias.lower() for cte in statement.find_all(exp.CTE)}
    for table in statement.find_all(exp.Table):
        name = _name(table.this)
        if name and (table.db or name.lower() not in own):
            yield name
    for within in statement.find_all(exp.In):  # `x IN curl` reads a table, too
        name = _name(within.args.get("field"))
        if name and name.lower() not in own:
            yield name


def _name(node: object) -> str:
    if isinstance(node, exp.Func) and not isinstance(node, exp.Anonymous):
        return node.sql_name()
    return node.name if isinstance(node, exp.Expr) else ""

"""One SQLite database per profile: osquery's tables for the platform, filled with what all hosts of the kind share."""

import re
import sqlite3
from functools import cache, lru_cache

from osquery_simulator import profiles
from osquery_simulator.overlay import EXTENDED, REPLACED, View
from osquery_simulator.profiles import Row
from osquery_simulator.sql_functions import add_functions

SQLITE_TYPES = {
    "text": "TEXT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "unsigned_bigint": "BIGINT",
    "double": "DOUBLE",
}
WORD = re.compile(r"[a-z_][a-z0-9_]*")


@cache
def schema() -> dict[str, dict[str, list[object]]]:
    """Read the shipped schema: table -> platforms and columns."""
    tables: dict[str, dict[str, list[object]]] = profiles.read_data("schema.json")
    return tables


@cache
def columns(platform: str) -> dict[str, dict[str, str]]:
    """Map the tables of a platform to their columns, and those to their SQL declarations."""
    return {
        table: {column[0]: _declaration(*column) for column in entry["columns"] if _is_on(platform, *column)}  # type: ignore[misc, index]
        for table, entry in schema().items()
        if platform in entry["platforms"]
    }


def _is_on(platform: str, _name: str, _type: str, options: dict[str, list[str]] | None = None) -> bool:
    return platform in (options or {}).get("platforms", [platform])


def _declaration(name: str, kind: str, options: dict[str, str] | None = None) -> str:
    collation = (options or {}).get("collate", "")
    return f'"{name}" {SQLITE_TYPES[kind]}' + (f" COLLATE {collation}" if collation in {"nocase", "version"} else "")


@cache
def tables_of(profile_name: str) -> frozenset[str]:
    """Name the tables of a profile."""
    return frozenset(columns(profiles.load(profile_name).platform))


@cache
def image(profile_name: str) -> bytes:
    """Build the template once per process; connections load copies of it."""
    profile = profiles.load(profile_name)
    rows = {"os_version": [profile.os], **profile.tables}
    with sqlite3.connect(":memory:") as database:
        add_functions(database)
        for table, declarations in columns(profile.platform).items():
            if table not in REPLACED:
                database.execute(f'CREATE TABLE "{table}" ({", ".join(declarations.values())})')
                insert(database, f'main."{table}"', rows.get(table, []))
        database.commit()
        return database.serialize()


def insert(database: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    """Add rows; columns that a row does not name stay NULL, which osquery shows as an empty text."""
    for row in rows:
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))  # noqa: S608 - names are ours


def open_database(profile_name: str) -> sqlite3.Connection:
    """Open a copy of the template, with empty places for one host's own rows."""
    database = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
    database.deserialize(image(profile_name))
    database.execute("PRAGMA temp_store = MEMORY")
    add_functions(database)
    for table, declarations in columns(profiles.load(profile_name).platform).items():
        if table in REPLACED:
            database.execute(f'CREATE TEMP TABLE "{table}" ({", ".join(declarations.values())})')
        elif table in EXTENDED:
            database.execute(f'CREATE TEMP TABLE "own {table}" ({", ".join(declarations.values())})')
            database.execute(
                f'CREATE TEMP VIEW "{table}" AS SELECT * FROM main."{table}" UNION ALL SELECT * FROM temp."own {table}"'  # noqa: S608
            )
    return database


def become(database: sqlite3.Connection, view: View, sql: str) -> None:
    """Turn the connection into this host, as far as the SQL can see."""
    available = columns(view.profile.platform)
    for word in words(sql):
        if word not in available:
            continue
        if word in REPLACED:
            place, rows = f'temp."{word}"', REPLACED[word](view)
        else:
            place, rows = f'temp."own {word}"', EXTENDED[word](view)
        database.execute(f"DELETE FROM {place}")  # noqa: S608 - a name from our own list
        insert(database, place, rows)


@lru_cache(maxsize=4096)
def words(sql: str) -> frozenset[str]:
    """Find the names of host-owned tables in a text of SQL; one too many does no harm."""
    return frozenset(WORD.findall(sql.lower())) & (REPLACED.keys() | EXTENDED.keys())

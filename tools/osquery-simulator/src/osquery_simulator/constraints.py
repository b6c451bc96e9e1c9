"""Tables that osquery fills only for what a query names: a file's hash, a certificate, a plist."""

import re
from functools import cache, lru_cache
from typing import Any

from osquery_simulator.profiles import read_data

WORD = re.compile(r"[a-z_][a-z0-9_]*")
SOURCES = re.compile(r"\bfrom\b(.*?)(?=\b(?:where|group|order|limit|select)\b|[);]|$)", re.DOTALL)
CONDITIONS = re.compile(r"\b(?:where|on|using)\b(.*)", re.DOTALL)


@cache
def required() -> dict[str, frozenset[str]]:
    """Map such a table to the columns of which one has to be given."""
    schema: dict[str, dict[str, Any]] = read_data("schema.json")
    return {table: frozenset(entry["required"]) for table, entry in schema.items() if "required" in entry}


@lru_cache(maxsize=4096)
def error_of(sql: str, tables: frozenset[str]) -> str:
    """Give osquery's error when one of the tables is read without a required column, as far as the text shows."""
    text = sql.lower()
    conditions = CONDITIONS.search(text)
    named = frozenset(WORD.findall(conditions[1])) if conditions else frozenset()
    for sources in SOURCES.findall(text):
        for word in WORD.findall(sources):
            if word in tables and word in required() and not required()[word] & named:
                return f"Table {word} was queried without a required column in the WHERE clause"
    return ""

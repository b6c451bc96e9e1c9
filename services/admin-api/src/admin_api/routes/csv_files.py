"""Values of hosts in CSV files (RFC 4180) that people open in spreadsheets: none of them is a formula there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from admin_api.routes.envelope import rfc3339

MEDIA_TYPE = "text/csv; charset=utf-8"
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")  # the last four: full-width, which some spreadsheets take as well
_SEPARATOR = re.compile("[;|\t\r\n]")
_BEGINNING = re.compile('(?:\\A|[;|\t\r\n])[\\s"\0\ufeff\u200b-\u200f\u2060]*')
"""Where a spreadsheet that splits at `;`, `|` or tabs, or minds no quotes at line ends, may begin a cell."""
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?(?:[eE][+-]?[0-9]+)?(?=\Z|[;|\t\r\n])")


def cell(value: object) -> str:
    """Return a value as a CSV file has it; what a spreadsheet would take for a formula has an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        usual = value[:1].isalnum() and _SEPARATOR.search(value) is None
        return value if usual else _BEGINNING.sub(_harmless, value)
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _harmless(beginning: re.Match[str]) -> str:
    text, place = beginning.string, beginning.end()
    if text[place : place + 1] in _FORMULA and _NUMBER.match(text, place) is None:
        return f"{beginning[0]}'"
    return f"'{beginning[0]}" if beginning.start() == 0 and text[:1] in {"\t", "\r", "\n"} else beginning[0]


def lines(rows: Iterable[Sequence[str]]) -> bytes:
    """Return lines of a CSV file."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


class Header:
    """The names over the columns of a file, each once: those of ours, and after them what hosts call theirs."""

    def __init__(self, ours: Sequence[str]) -> None:
        self._ours = frozenset(ours)
        self._shown = set(ours)

    def name(self, theirs: str) -> str:
        """Return what stands over a column of hosts: `columns.` before it where it would be taken for another."""
        shown = cell(theirs)
        while shown in self._shown or shown.strip().casefold() in self._ours:
            shown = f"columns.{shown}"
        self._shown.add(shown)
        return shown

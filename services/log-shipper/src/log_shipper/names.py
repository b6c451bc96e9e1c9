"""Which query and pack a result line is of."""

from __future__ import annotations

import re

import msgspec

PACK = "pack"
_OF_FLOTILLA = re.compile(r"pack(.{1,16}?)(?:Global|team-([0-9]{1,18}))\1(.+)", re.DOTALL)


class _Named(msgspec.Struct):
    name: str = ""


_decode = msgspec.json.Decoder(_Named).decode


def query_of(line: bytes) -> tuple[str, str]:
    """Return the query and the pack that a line names; both empty when it names none."""
    try:
        return split_name(_decode(line).name)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "", ""


def split_name(name: str) -> tuple[str, str]:
    """Return the query and the pack of a name, the pack empty when there is none.

    osquery writes `pack<d>PACK<d>QUERY` for a query of a pack, `<d>` being the option `pack_delimiter` (`/` usually,
    one character), and the query alone for one of the schedule.
    """
    delimiter = name[len(PACK) : len(PACK) + 1]
    if not name.startswith(PACK) or not delimiter or delimiter.isalnum():
        return name, ""
    pack, found, query = name[len(PACK) + 1 :].partition(delimiter)
    return (query, pack) if found else (name, "")


def saved_query_of(name: str) -> tuple[int, str] | None:
    """Return team (0: none) and name of the saved query that a scheduled one was made of; None when it was not.

    The delimiter is whatever stands both before and after the pack, several characters if need be.
    """
    found = _OF_FLOTILLA.fullmatch(name)
    return None if found is None else (int(found[2] or 0), found[3])

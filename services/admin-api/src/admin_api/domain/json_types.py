"""Names of JSON types, for telling people what was expected and what came."""

from __future__ import annotations

import json

from admin_api.errors import StrictBodyError

DEEPEST = 64  # levels of objects and arrays: far beyond every real document, far below what a parser can stand


def name_of(value: object) -> str:
    """Return the JSON type of a decoded value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    names: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def fits(value: object, expected: str) -> bool:
    """Tell whether a value is a bool, string, int, uint, array or object."""
    if expected in {"int", "uint"}:
        return isinstance(value, int) and not isinstance(value, bool) and (expected == "int" or value >= 0)
    return name_of(value) == expected


def same(one: object, other: object) -> bool:
    """Tell whether two decoded values are the same JSON. Python takes true, 1 and 1.0 for equal."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def check_depth(value: object) -> None:
    """Refuse what is nested so deeply that later it could be read by nobody.

    Raises:
        StrictBodyError: more than `DEEPEST` levels.

    """
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [member for item in level for member in _members(item)]
        if not level:
            return
    raise StrictBodyError(f"nested deeper than {DEEPEST} levels")


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []

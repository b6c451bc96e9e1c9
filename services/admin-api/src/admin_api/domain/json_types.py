"""Names of JSON types, for telling people what was expected and what came."""

from __future__ import annotations


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

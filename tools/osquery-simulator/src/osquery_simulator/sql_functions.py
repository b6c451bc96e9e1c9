"""The functions and collations that osquery adds to SQLite, as far as fleets use them."""

import base64
import binascii
import hashlib
import ipaddress
import math
import re
import sqlite3
from collections.abc import Callable
from itertools import zip_longest

Value = str | int | float | bytes | None
PART = re.compile(r"\d+|[A-Za-z]+")


def compare_versions(left: str, right: str) -> int:
    """Compare part by part: numbers as numbers, words as words, numbers above words; the longer wins a draw."""
    for one, other in zip_longest(PART.findall(left), PART.findall(right)):
        if one == other:
            continue
        if one is None or other is None:
            return -1 if one is None else 1
        a, b = (
            (one.isdigit(), int(one) if one.isdigit() else one),
            (other.isdigit(), int(other) if other.isdigit() else other),
        )
        return 1 if a > b else -1
    return 0


def split(text: Value, separators: str, index: int) -> str | None:
    """Cut at any of the characters, leaving out empty tokens, and give one token."""
    if text is None:
        return None
    tokens = [token for token in re.split("[" + re.escape(separators) + "]", str(text)) if token]
    return tokens[index] if 0 <= index < len(tokens) else None


def regex_split(text: Value, pattern: str, index: int) -> str | None:
    """Cut where the pattern matches and give one token."""
    if text is None:
        return None
    tokens = re.split(pattern, str(text))
    return tokens[index] if 0 <= index < len(tokens) else None


def regex_match(text: Value, pattern: str, index: int) -> str | None:
    """Give one group of the first match."""
    match = None if text is None else re.search(pattern, str(text))
    return match.group(index) if match and index <= (match.re.groups or 0) else None


def inet_aton(text: Value) -> int | None:
    """Turn a dotted IPv4 address into a number."""
    try:
        return int(ipaddress.IPv4Address(str(text)))
    except ValueError:
        return None


def from_base64(text: Value) -> str | None:
    """Decode; what is no base64 gives an empty text."""
    if text is None:
        return None
    try:
        return base64.b64decode(str(text), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def _digest(name: str) -> Callable[[Value], str | None]:
    return lambda value: None if value is None else hashlib.new(name, _raw(value)).hexdigest()


def _raw(value: Value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _maths(function: Callable[[float], float]) -> Callable[[float | None], float | None]:
    return lambda value: None if value is None else function(float(value))


def add_functions(database: sqlite3.Connection) -> None:
    """Teach a connection osquery's dialect."""
    database.create_collation("version", compare_versions)
    exact: list[tuple[str, int, Callable[..., Value]]] = [
        ("split", 3, split),
        ("regex_split", 3, regex_split),
        ("regex_match", 3, regex_match),
        ("inet_aton", 1, inet_aton),
        ("version_compare", 2, lambda a, b: compare_versions(str(a), str(b))),
        ("concat", -1, lambda *parts: "".join(str(part) for part in parts if part is not None)),
        ("concat_ws", -1, lambda glue, *parts: str(glue).join(str(part) for part in parts if part is not None)),
        ("to_base64", 1, lambda value: None if value is None else base64.b64encode(_raw(value)).decode()),
        ("from_base64", 1, from_base64),
        ("md5", 1, _digest("md5")),
        ("sha1", 1, _digest("sha1")),
        ("sha256", 1, _digest("sha256")),
        *(
            (name, 1, _maths(getattr(math, name)))
            for name in ("sqrt", "log", "log10", "exp", "ceil", "floor", "sin", "cos")
        ),
        ("power", 2, lambda a, b: None if a is None or b is None else math.pow(a, b)),
    ]
    for name, count, function in exact:
        database.create_function(name, count, function, deterministic=True)

"""The rows of one host's answer: each is read by itself, so that an odd one costs no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec

from admin_api.metrics import UNREADABLE_ROWS

MOST_TOKENS = 200_000  # strings and brackets of an answer that is no JSON: what is behind them is left out
_items = msgspec.json.Decoder(list[msgspec.Raw])
_keys = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_row = msgspec.json.Decoder(dict[str, Any])
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{},]', re.DOTALL)


def each_row(text: bytes) -> Iterator[dict[str, str]]:
    """Yield rows one by one, every value a text. What cannot be read as a row is left out and counted.

    Gateways pass on objects of texts alone; the rest is for what others, or earlier ones, may have put there.
    """
    try:
        items = _items.decode(text)
    except (ValueError, RecursionError):
        yield from _in_texts(_odd_list(text))
        return
    for item in items:
        try:
            row = _row.decode(item)
        except (ValueError, RecursionError):
            yield from _in_texts([_odd_item(bytes(item))])
        else:
            yield {column: value if type(value) is str else _text(value) for column, value in row.items()}


def _in_texts(items: Iterable[Any]) -> Iterator[dict[str, str]]:
    for row in items:
        if isinstance(row, dict):
            yield {_clean(column): _text(value) for column, value in row.items()}
        else:
            UNREADABLE_ROWS.inc()


def column_names(text: bytes) -> list[str]:
    """Return the names of all columns of an answer, in the order in which they come. Values are not looked at."""
    try:
        rows: Iterable[Mapping[str, object]] = _keys.decode(text)
    except (ValueError, RecursionError):
        rows = each_row(text)
    return list(dict.fromkeys(chain.from_iterable(rows)))


def _odd_list(text: bytes) -> Iterable[Any]:
    try:
        found = _by_the_letter(text)
    except (ValueError, RecursionError):
        return map(_odd_item, _split_by_the_letter(text))
    return found if isinstance(found, list) else [None]


def _odd_item(text: bytes) -> Any:
    try:
        return _by_the_letter(text)
    except (ValueError, RecursionError):
        return None


def _split_by_the_letter(text: bytes) -> Iterator[bytes]:
    """Cut a list at its commas, whatever is between them: no depth and no odd escape is too much."""
    depth = start = 0
    for number, token in enumerate(_TOKEN.finditer(text)):
        kind = token[0][:1]
        depth += (kind in {b"[", b"{"}) - (kind in {b"]", b"}"})
        if depth == 1 and not start:
            start = token.end()
        elif depth == 0 or (depth == 1 and kind == b","):
            if item := text[start : token.start()].strip():
                yield item
            start = token.end()
        if depth == 0:
            return
        if number >= MOST_TOKENS:
            break
    yield text[start:]


def _by_the_letter(text: bytes) -> Any:
    """Read what the fast decoder refuses: broken UTF-8, halves of UTF-16 pairs, numbers of any length."""
    return json.loads(text.decode("utf-8", "replace"), parse_int=_digits)


def _digits(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # longer than Python converts
        return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _clean(value)
    return "" if value is None else _clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

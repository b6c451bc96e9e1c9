"""Parse what hosts send: strictly and fast first, then as leniently as a host's odd bytes need.

osqueryd copies text from the machine: a string may hold bytes that are not UTF-8, half a surrogate pair, or a control
character. Refusing the body for that would block the host's logs for ever, since it would send the same again.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from io import BytesIO
from typing import Any, TypeVar

import msgspec
import regex

from agent_gateway.domain.json_items import check_members
from agent_gateway.errors import Malformed, NestedTooDeep

T = TypeVar("T")

STEP = 256 * 1024  # bytes looked at together: as text they take up to four times that
CHECK_BYTES = 1024 * 1024  # smaller bodies cannot ask for much memory
LENIENT_LIMIT = 16 * 1024 * 1024  # bytes; to mend them must not hold the event loop for seconds
MENDED_LIMIT = 200_000  # halves of surrogate pairs, a microsecond each
ESCAPES_LIMIT = 200_000  # where a string may hold a line break; in one string they take 150 bytes of memory each
QUOTES_LIMIT = 4_000_000  # the same; a string takes a third of a microsecond

_CONTROLS = {code: f"\\u{code:04x}" for code in range(32)}
_CONTROLS_BUT_BLANKS = {code: text for code, text in _CONTROLS.items() if chr(code) not in "\t\n\r"}
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_WHOLE = rb"(?:" + _HIGH + _LOW + rb"|\\(?!u[dD][89a-fA-F]).)(*SKIP)(*FAIL)"
_HALF = regex.compile(_WHOLE + rb"|" + _HIGH + rb"|" + _LOW, regex.DOTALL)
_FINE = rb'"(?:[^"\\\t\n\r]++|\\.)*+"(*SKIP)(*FAIL)'
# One that does not end is found too: else it would be looked at again from each of its quotes.
_BROKEN_STRING = regex.compile(_FINE + rb'|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', regex.DOTALL)


def parse(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return the decoded body; all its text is valid UTF-8.

    Raises:
        Malformed: it is no JSON object of this shape, or one of more items than anybody sends.
        NestedTooDeep: no parser here can read it.

    """
    if len(body) > CHECK_BYTES:
        check_members(body)
    if not body.isascii() and not is_utf8(body):
        body = as_utf8(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_leniently(decoder, body)


def parse_usual(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Return the decoded body if nothing about it is odd: plain ASCII, valid, of this shape."""
    try:
        return decoder.decode(body) if body.isascii() else None
    except (msgspec.DecodeError, RecursionError):
        return None


def is_utf8(body: bytes) -> bool:
    """Whether all of it is UTF-8. Looks piece by piece: one character could make the whole text four times as large."""
    try:
        for _ in _decoded(body, "strict"):
            pass
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(body: bytes) -> bytes:
    """Return the body with U+FFFD in place of what is not UTF-8."""
    whole = BytesIO()
    for text in _decoded(body, "replace"):
        whole.write(text.encode())
    return whole.getvalue()


def _decoded(body: bytes, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    for start in range(0, len(body), STEP):
        yield decoder.decode(body[start : start + STEP], final=start + STEP >= len(body))


def _parse_leniently(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Mend strings and decode again: whatever is no string stays as it came, to the last digit of a number."""
    if len(body) > LENIENT_LIMIT:
        raise Malformed("not valid JSON")
    mended = _HALF.sub(rb"\\ufffd", _escaped(body, _CONTROLS_BUT_BLANKS), count=MENDED_LIMIT)
    if mended.count(b"\\") <= ESCAPES_LIMIT and mended.count(b'"') <= QUOTES_LIMIT:
        mended = _BROKEN_STRING.sub(lambda string: _escaped(string[0], _CONTROLS), mended)
    try:
        return decoder.decode(mended)
    except RecursionError:
        raise NestedTooDeep("nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"not valid JSON of this shape: {type(error).__name__}") from None


def _escaped(text: bytes, characters: dict[int, str]) -> bytes:
    return text.decode("latin-1").translate(characters).encode("latin-1")


def as_text(value: Any) -> str | None:
    """Return a scalar as osquery would write it in a row, None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return str(value)
    return "" if value is None else None

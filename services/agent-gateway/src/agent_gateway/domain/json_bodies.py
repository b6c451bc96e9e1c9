"""Parse what hosts send: strictly and fast first, then as leniently as a host's odd bytes need.

osqueryd copies text from the machine: a string may hold bytes that are not UTF-8, half a surrogate pair, or a control
character. Refusing the body for that would block the host's logs for ever, since it would send the same again.
"""

from __future__ import annotations

import codecs
import re
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
LENIENT_LIMIT = 32 * 1024 * 1024  # bytes; to mend them takes a thread seconds, and six times the memory
MENDED_LIMIT = 200_000  # halves of surrogate pairs, a microsecond each
TOKENS_LIMIT = 8_000_000  # quotes, escapes and blanks where a string holds a line break, some 0.3 us each
CONTROLS_STEP = 32 * 1024  # bytes: the worst of them keep the event loop waiting for 6 ms

_CONTROLS_BUT_BLANKS = {code: f"\\u{code:04x}" for code in range(32) if chr(code) not in "\t\n\r"}
_ESCAPES = {b"\t": b"\\u0009", b"\n": b"\\u000a", b"\r": b"\\u000d"}
_BLANK = re.compile(rb"[\t\n\r]")
_TOKEN = re.compile(rb'\\.|["\t\n\r]', re.DOTALL)
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_WHOLE = rb"(?:" + _HIGH + _LOW + rb"|\\(?!u[dD][89a-fA-F]).)(*SKIP)(*FAIL)"
_HALF = regex.compile(_WHOLE + rb"|" + _HIGH + rb"|" + _LOW, regex.DOTALL)


def parse(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return the decoded body; all its text is valid UTF-8. What is odd about it may take seconds to be mended.

    Raises:
        Malformed: it is no JSON object of this shape, or one of more items than anybody sends.
        NestedTooDeep: no parser here can read it.

    """
    found = parse_plain(decoder, body)
    return _parse_leniently(decoder, body) if found is None else found


def parse_plain(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Return the decoded body if it is JSON in UTF-8; None: it must be mended, which is not done for everybody.

    Raises:
        Malformed: it is JSON of another shape, or has more items than anybody sends.

    """
    if len(body) > CHECK_BYTES:
        check_members(body)
    return _decoded_by(decoder, body) if body.isascii() or is_utf8(body) else None


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


def _decoded_by(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Return the decoded body, None when it is no JSON or nested too deeply."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _parse_leniently(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Mend strings and decode again: whatever is no string stays as it came, to the last digit of a number."""
    if len(body) > LENIENT_LIMIT or not body:
        raise complaint(decoder, body)
    if not body.isascii() and not is_utf8(body):
        body = as_utf8(body)
        if (found := _decoded_by(decoder, body)) is not None:
            return found
    mended = _with_blanks_escaped(_HALF.sub(rb"\\ufffd", _without_controls(body), count=MENDED_LIMIT))
    if (found := _decoded_by(decoder, mended)) is None:
        raise complaint(decoder, mended)
    return found


def complaint(decoder: msgspec.json.Decoder[Any], body: bytes) -> Malformed:
    """Return what is wrong with a body that was not read: it is looked at once more, to say it in the same words."""
    if not body:
        return Malformed("the body is empty: it must be a JSON object, at least {}")
    try:
        decoder.decode(body)
    except RecursionError:
        return NestedTooDeep("nested too deeply")
    except ValueError:
        return Malformed("not valid JSON")
    return Malformed("not valid JSON in UTF-8")


def _without_controls(body: bytes) -> bytes:
    """Escape control characters but blanks. In small steps: a thread that does this lets the event loop run."""
    mended = BytesIO()
    for start in range(0, len(body), CONTROLS_STEP):
        text = body[start : start + CONTROLS_STEP].decode("latin-1")
        mended.write(text.translate(_CONTROLS_BUT_BLANKS).encode("latin-1"))
    return mended.getvalue()


def _with_blanks_escaped(body: bytes) -> bytes:
    """Escape the line breaks and tabs that are in strings; between them they may stand."""
    if not _BLANK.search(body) or body.count(b"\\") + body.count(b'"') + sum(map(body.count, _ESCAPES)) > TOKENS_LIMIT:
        return body
    mended = BytesIO()
    kept, is_inside = 0, False
    for token in _TOKEN.finditer(body):
        what = token[0]
        if what == b'"':
            is_inside = not is_inside
        elif is_inside and what in _ESCAPES:
            mended.write(body[kept : token.start()])
            mended.write(_ESCAPES[what])
            kept = token.end()
    mended.write(body[kept:])
    return mended.getvalue()


def as_text(value: Any) -> str | None:
    """Return a scalar as osquery would write it in a row, None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return str(value)
    return "" if value is None else None

"""Bodies as text: whatever bytes come, at a bounded price."""

from __future__ import annotations

import json
import re
import threading
import tracemalloc

import pytest
from agent_gateway.domain import json_bodies, lines
from agent_gateway.domain.json_bodies import MENDED_LIMIT, as_utf8, is_utf8, parse
from agent_gateway.errors import Malformed
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024
PIECES = st.sampled_from(
    [b"a", "é".encode(), "€".encode(), "😀".encode(), b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f"]
)


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "STEP", 3)


@pytest.mark.usefixtures("_small_steps")
@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_looking_at_pieces_finds_what_looking_at_the_whole_finds(body: bytes) -> None:
    clean = body.decode("utf-8", "replace").encode()

    assert as_utf8(body) == clean
    assert is_utf8(body) == (body == clean)


@pytest.mark.parametrize(("odd", "times"), [("😀".encode(), 0.5), (b"\xff", 1.5)], ids=["emoji", "no UTF-8"])
def test_one_odd_character_does_not_multiply_a_large_body(odd: bytes, times: float) -> None:
    line = b'{"text":"%s"}' % (b"x" * 2000)
    body = b'{"data":[{"text":"%s"},%s]}' % (odd, b",".join([line] * (16 * MIB // len(line))))

    tracemalloc.start()
    parse(lines.decoder, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < times * len(body)


ODD = [b"\x01", b"\0", b"\t", b"\n", b"\r", b"\\ud83d", b"\\ude00"]
PARTS = st.sampled_from(
    [*ODD, b"a", b"ud83d", b"\\\\", b'\\"', b"\\n", b"\\u00e9", b"\\uD83D\\uDE00", "é".encode(), b"{", b","]
)
STRINGS = st.lists(PARTS, max_size=6).map(lambda parts: b'"' + b"".join(parts) + b'"')
NUMBERS = st.sampled_from([b"1e999", b"12345678901234567890.10", b"-0.0", b"9" * 6000, b"1E-400"])


@given(st.lists(STRINGS | NUMBERS, max_size=6))
def test_odd_strings_are_mended_and_nothing_else_is_touched(items: list[bytes]) -> None:
    found = parse(lines.decoder, b'{"data":[\n%s\t]}' % b"\r\n,".join(items)).data

    assert found is not None
    assert len(found) == len(items)
    for before, after in zip(items, map(bytes, found), strict=True):
        assert after == before if before[:1] != b'"' else json.loads(after) == as_python_reads(before)


def as_python_reads(string: bytes) -> str:
    """Return a string as a lenient parser reads it, with U+FFFD for half a surrogate pair."""
    return re.sub("[\ud800-\udfff]", "\ufffd", json.loads(string.decode(), strict=False))


@pytest.mark.parametrize(
    "broken", [b'{"data":["\\x"]}', b'{"data":["\x01', b'{"data":[\x01]}', b'{"data":["\\ud8"]}', b"\x01"]
)
def test_what_cannot_be_mended_is_refused(broken: bytes) -> None:
    with pytest.raises(Malformed):
        parse(lines.decoder, broken)


def test_a_large_body_that_would_take_long_to_mend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "LENIENT_LIMIT", 100)

    with pytest.raises(Malformed):
        parse(lines.decoder, b'{"data":["\x01%s"]}' % (b"x" * 100))


def test_many_escapes_are_no_reason_to_refuse_a_line_break_in_a_string() -> None:
    path = b"C:\\\\Windows\\\\System32\\\\drivers" * 140_000

    found = parse(lines.decoder, b'{"data":["%s","a\nb"]}' % path).data

    assert found is not None
    assert json.loads(bytes(found[1])) == "a\nb"
    assert bytes(found[0]) == b'"%s"' % path


def test_mending_leaves_the_event_loop_its_turns() -> None:
    """No step holds the interpreter for long: the thread beside has its turns while each byte is mended."""
    turns = 0
    done = threading.Event()

    def take_turns() -> None:
        nonlocal turns
        while not done.wait(0.001):
            turns += 1

    thread = threading.Thread(target=take_turns)
    thread.start()
    try:
        parse(lines.decoder, b'{"data":["%s"]}' % (b"\x01" * 4 * MIB))
        parse(lines.decoder, b'{"data":["%s"]}' % (b"\n" * MIB))
        parse(lines.decoder, b'{"data":["%s"]}' % (b"\\ud800" * MENDED_LIMIT))
    finally:
        done.set()
        thread.join()

    assert turns > 20

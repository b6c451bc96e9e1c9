"""Bodies as text: whatever bytes come, at a bounded price."""

from __future__ import annotations

import tracemalloc

import pytest
from agent_gateway.domain import json_bodies, lines
from agent_gateway.domain.json_bodies import as_utf8, is_utf8, parse
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

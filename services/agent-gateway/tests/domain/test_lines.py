"""The quick look at a whole POST cuts it as the look at each line does."""

from __future__ import annotations

import msgspec
import pytest
from agent_gateway.domain.lines import Cut, cut, read_log
from agent_gateway.domain.lines import _lines as lines_one_by_one
from agent_gateway.domain.lines import _pieces as pieces_of
from hypothesis import given
from hypothesis import strategies as st

ITEMS = st.sampled_from(
    [
        b"{}",
        b'{"a":1}',
        b'{"a":"{\\n"}',
        b'{\n"a":1}',
        b'{"a":\r\n1}',
        b"[]",
        b"null",
        b'"{"',
        b"1",
        b'{"a":"' + b"x" * 40 + b'"}',
    ]
)


def body_of(items: list[bytes]) -> bytes:
    return b'{"data":[' + b",".join(items) + b"]}"


@given(items=st.lists(ITEMS, max_size=8), limit=st.integers(1, 200))
def test_a_whole_post_is_cut_as_its_lines_are_one_by_one(items: list[bytes], limit: int) -> None:
    data = [msgspec.Raw(item) for item in items]
    expected = Cut()
    expected.pieces.extend(pieces_of(lines_one_by_one(data, expected.skipped), limit))

    assert cut(data, body_of(items), limit) == expected


@given(count=st.integers(1, 50))
def test_lines_of_the_usual_kind_become_one_piece(count: int) -> None:
    items = [b'{"a":1}'] * count

    found = cut([msgspec.Raw(item) for item in items], body_of(items))

    assert [(piece.body, piece.lines) for piece in found.pieces] == [(b'{"a":1}\n' * count, count)]


@pytest.mark.parametrize("around", [b'{"a":%s}', b'{\n"a":%s}'])
def test_a_line_of_any_depth_is_stored_or_counted_as_too_deep(around: bytes) -> None:
    """How deep a parser goes depends on how deep its caller is: some hundred levels less than a thousand."""
    for depth in range(850, 1010):
        line = around % (b"[" * depth + b"]" * depth)
        body = b'{"data":[{"n":1},%s],"log_type":"result","node_key":"k"}' % line

        request, too_deep = read_log(body)
        found = cut(request.data or [], body, too_deep=too_deep)

        assert found.lines == 2 - found.skipped.get("too_deep", 0)
        assert set(found.skipped) <= {"too_deep"}

"""Items of JSON are counted and cut as a parser would find them, in little time and no memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from agent_gateway.domain import json_items
from agent_gateway.domain.json_bodies import parse
from agent_gateway.domain.json_items import check_members, cut_items
from agent_gateway.domain.lines import decoder
from agent_gateway.domain.results import ROWS_LIMIT, parse_write, result_of
from agent_gateway.errors import Malformed
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.sampled_from(['"', "[,]", "}{", "\\", '\\"'])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
BODIES = st.dictionaries(st.text(), VALUES, max_size=4)
LEVELS = 14


def counted(body: dict[str, Any]) -> int:
    """Return how many items the members of an object hold; an empty one counts as one."""
    return sum(max(1, len(value)) for value in body.values() if isinstance(value, list | dict))


def is_refused(body: bytes, limit: int) -> bool:
    try:
        check_members(body, limit)
    except Malformed:
        return True
    return False


@given(BODIES, st.sampled_from([2, 9, 40, 300_000]), st.sampled_from([None, 1]))
def test_members_are_counted_as_a_parser_counts_them(body: dict[str, Any], window: int, indent: int | None) -> None:
    text = json.dumps(body, indent=indent).encode()
    count = counted(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_items, "WINDOW", window)
        patch.setattr(json_items, "STEPS", 10_000)

        if text.count(b",") > count:
            assert not is_refused(text, count)
        if count > 1:
            assert is_refused(text, count - 1) == (text.count(b",") > count - 1)


@given(st.lists(VALUES, max_size=6), st.integers(0, 8), st.integers(2, 200))
def test_an_array_is_cut_between_its_items(items: list[Any], count: int, size: int) -> None:
    text = json.dumps(items).encode()

    cut, some_are_left = cut_items(text, size, count)

    kept = json.loads(cut)
    assert kept == items[: len(kept)]
    assert len(kept) <= count
    assert len(cut) <= max(size, 2)
    assert some_are_left or kept == items


BOMBS = {
    "numbers": b'{"data":[%s0]}' % (b"0," * 16 * MIB),
    "objects": b'{"data":[%s0]}' % (b"{}," * 8 * MIB),
    "keys": b'{"queries":{%s}}' % b",".join(b'"%d":0' % number for number in range(1_000_000)),
    "statuses": b'{"statuses":{%s}}' % b",".join(b'"%d":0' % number for number in range(1_000_000)),
    "objects in objects": b'{"statuses":{"a":[%s0]}}' % (b"{}," * 8 * MIB),
    "log type": b'{"log_type":[[%s0]]}' % (b"{}," * 8 * MIB),
    "brackets": b'{"data":[%s0]}' % ((b"[" * LEVELS + b"]" * LEVELS + b",") * MIB),
    "deep": b'{"data":%s' % (b"[" * 16 * MIB),
    "pairs": b'{"data":[[%s0]]}' % (b"[0]," * 4 * MIB),
    "a large number": b'{"data":[%s]}' % (b"9" * 16 * MIB),
    "lenient": b'{"data":[%s"\x01"]}' % (b"{}," * 5 * MIB),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("read", [parse_write, lambda body: parse(decoder, body)], ids=["write", "log"])
def test_no_body_asks_for_more_memory_than_a_few_times_its_size(name: str, read: Any) -> None:
    body = BOMBS[name]
    began = time.thread_time()

    tracemalloc.start()
    try:
        read(body)
    except Malformed:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 4 * len(body) + 64 * MIB
    assert time.thread_time() - began < 20.0  # with the tracing of memory, which makes it several times slower


def test_rows_of_nothing_are_cut_and_said_to_be() -> None:
    body = b'{"queries":{"a":[%s{}]}}' % (b"{}," * 2 * MIB)

    tracemalloc.start()
    result = result_of(parse_write(body), "a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert result.truncated
    assert len(json.loads(result.rows)) == ROWS_LIMIT
    assert peak < 100 * MIB


def test_statuses_that_cannot_be_read_do_not_make_failures_a_success() -> None:
    many = b'{"statuses":{"a":1,"pad":"%s"},"queries":{"a":[]}}' % (b"x" * MIB)

    for body in (many, b'{"statuses":{"a":1,"b":1e400},"queries":{"a":[]}}'):
        with pytest.raises(Malformed):
            parse_write(body)

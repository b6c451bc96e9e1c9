"""Items of JSON are counted and cut as a parser would find them, in little time and no memory."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_gateway.domain import config, distributed_read, enroll_body, json_items, orbit_enroll
from agent_gateway.domain.bodies import ENROLL_LIMIT, READ_LIMIT
from agent_gateway.domain.enroll_body import enroll_request
from agent_gateway.domain.json_bodies import parse
from agent_gateway.domain.json_items import ALL_BRACKETS_LIMIT, DEPTH_LIMIT, check_members, cut_items
from agent_gateway.domain.lines import read_log
from agent_gateway.domain.orbit_enroll import orbit_enroll_request
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
NEARLY_TOO_MANY = ALL_BRACKETS_LIMIT - 10
LEVELLED = (b"[" + b'"",' * 20 + b"0") * 40 + b"]" * 40 + b","
TOO_DEEP = b"[" * (DEPTH_LIMIT + 100) + b"]" * (DEPTH_LIMIT + 100)


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


def many_keys() -> bytes:
    return b",".join(b'"%d":0' % number for number in range(1_000_000))


BOMBS = {
    "numbers": lambda: b'{"data":[%s0]}' % (b"0," * 16 * MIB),
    "objects": lambda: b'{"data":[%s0]}' % (b"{}," * NEARLY_TOO_MANY),
    "too many objects": lambda: b'{"data":[%s0]}' % (b"{}," * 8 * MIB),
    "keys": lambda: b'{"queries":{%s}}' % many_keys(),
    "statuses": lambda: b'{"statuses":{%s}}' % many_keys(),
    "objects in objects": lambda: b'{"statuses":{"a":[%s0]}}' % (b"{}," * NEARLY_TOO_MANY),
    "log type": lambda: b'{"log_type":[[%s0]]}' % (b"{}," * NEARLY_TOO_MANY),
    "brackets": lambda: b'{"data":[%s0]}' % ((b"[" * LEVELS + b"]" * LEVELS + b",") * (NEARLY_TOO_MANY // LEVELS)),
    "deep": lambda: b'{"data":%s' % (b"[" * 16 * MIB),
    "pairs": lambda: b'{"data":[[%s0]]}' % (b"[0]," * NEARLY_TOO_MANY),
    "a large number": lambda: b'{"data":[%s]}' % (b"9" * 16 * MIB),
    "lenient": lambda: b'{"data":[%s"\x01"]}' % (b"{}," * 5 * MIB),
    "a little lenient": lambda: b'{"data":[%s"\x01"]}' % (b"{}," * (MIB // 2)),
    "halves of pairs": lambda: b'{"data":["%s"]}' % (b"\\ud800" * 2 * MIB),
    "controls": lambda: b'{"data":["%s"]}' % (b"\x01" * 8 * MIB),
    "escapes": lambda: b'{"data":["%s\n"]}' % (b"\\n" * 4 * MIB),
    "escapes in one item": lambda: b'{"data":[%s"%s"]}' % (b"0," * 250_000, b"\\n," * 5 * MIB),
    "strings side by side": lambda: b'{"data":[%s%s]}' % (b"0," * 250_000, b'""' * 7 * MIB),
    "strings below": lambda: b'{"data":[[%s]%s]}' % (b'""' * 7 * MIB, b",0" * 250_000),
    "strings": lambda: b'{"data":{"a":[%s"\n"]}}' % (b'"",' * 3 * MIB),
    "a row of pairs": lambda: b'{"queries":{"a":[{%s"":""}]}}' % (b'"":"",' * (3 * MIB // 2)),
    "a row of escapes": lambda: b'{"queries":{"a":[{"a":"%s"}]}}' % (b"\\n" * 5 * MIB),
    "levels": lambda: b'{"data":[%s0]}' % (LEVELLED * (4 * MIB // len(LEVELLED))),
    "a string without an end": lambda: b'{"data":["%s' % (b'\\"' * 190_000),
    "a string without an end, its last escape neither": lambda: b'{"data":["%s\\' % (b'\\"' * 190_000),
    "deep, and a long tail": lambda: b'{"data":[%s,%s' % (TOO_DEEP, b"a" * 15 * MIB),
    "deep, and strings": lambda: b'{"data":[%s,%s' % (TOO_DEEP, b'"a"' * 5 * MIB),
    "deep, and a string without an end": lambda: b'{"data":[%s,"%s' % (TOO_DEEP, b'\\"' * 190_000),
}
SMALL: dict[str, tuple[int, str, Callable[[bytes], object]]] = {
    "enroll": (
        ENROLL_LIMIT,
        "host_details",
        lambda body: enroll_request(parse(enroll_body.decoder, body), "192.0.2.1"),
    ),
    "orbit enroll": (
        READ_LIMIT,
        "hardware_serial",
        lambda body: orbit_enroll_request(parse(orbit_enroll.decoder, body), "192.0.2.1"),
    ),
    "read": (READ_LIMIT, "node_key", lambda body: parse(distributed_read._decoder, body)),
    "config": (READ_LIMIT, "etag", lambda body: parse(config._decoder, body)),
}
FILLS = (b"{},", b"[],", b"[", b'{"a":', b'"",', b"0,", b"9", b'"\\ud800",', b'"\x01",', b"\xff,", b'\\"')


def explode(name: str) -> None:
    """Read a bomb, as the body of each path that takes large ones."""
    bomb = BOMBS[name]()
    before = peak_bytes()
    for read in (read_results, read_log):
        with contextlib.suppress(Malformed):
            read(bomb)
    print(len(bomb), peak_bytes() - before)  # noqa: T201  # to the test that started this process


def read_results(body: bytes) -> None:
    """Read a write and all its results."""
    request = parse_write(body)
    for name in request.queries or ():
        result_of(request, name)


def explode_small() -> None:
    """Read small bombs, as the bodies of the paths that take no large ones."""
    before = peak_bytes()
    for limit, member, read in SMALL.values():
        for fill in FILLS:
            head = b'{"host_identifier":"a","hardware_uuid":"a","enroll_secret":"a","%s":' % member.encode()
            inner = fill * (limit // len(fill))
            for body in (head + b"[" + inner, head + b"[" + inner + b"0]}", head + b'"' + inner):
                with contextlib.suppress(Malformed):
                    read(body)
    print(ENROLL_LIMIT, peak_bytes() - before)  # noqa: T201  # to the test that started this process


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("call", [*(f"explode({name!r})" for name in BOMBS), "explode_small()"])
def test_no_body_asks_for_more_memory_than_a_few_times_its_size(call: str) -> None:
    """In a process of its own: the peak of this one is past. What looked again from each byte would take hours."""
    code = f"import test_json_items; test_json_items.{call}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=120
    )

    size, more = map(int, done.stdout.split())
    assert more < 4 * size + 64 * MIB


def test_what_opens_more_brackets_than_anybody_sends_is_not_looked_at() -> None:
    inner = b"[]," * (ALL_BRACKETS_LIMIT - 3)
    check_members(b'{"data":[[%s0]]}' % inner, 10)

    with pytest.raises(Malformed, match="brackets"):
        check_members(b'{"data":[[%s[]]]}' % inner, 10)
    rows = b'{"a":"1"},' * ALL_BRACKETS_LIMIT
    check_members(b'{"data":[[%s0]]}' % rows, 10)


def test_rows_of_nothing_are_cut_and_said_to_be() -> None:
    body = b'{"queries":{"a":[%s{}]}}' % (b"{}," * NEARLY_TOO_MANY)

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

"""The shapes of distributed/write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agent_gateway.domain.results import (
    campaign_of,
    kind_of,
    parse_plain_write,
    parse_usual_write,
    parse_write,
    result_of,
)
from agent_gateway.errors import Malformed
from hypothesis import example, given
from hypothesis import strategies as st

NAME = "fleet_distributed_query_5"


def result(**members: Any) -> Any:
    body = {"node_key": "k", "queries": {NAME: [{"a": "1"}]}} | members
    return result_of(parse_write(json.dumps(body).encode()), NAME)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0, 0), (1, 1), ("0", 0), ("1", 1), (None, 0), (True, 1), ("odd", 1), (1.5, 1), ([], 1), (10**30, 1), ("", 1)],
)
def test_a_status_may_be_a_number_text_or_missing(status: Any, expected: int) -> None:
    assert result(statuses={NAME: status}).status == expected


@pytest.mark.parametrize("statuses", [None, {}, [], "x"])
def test_a_query_without_a_status_succeeded(statuses: Any) -> None:
    assert result(statuses=statuses).status == 0


@pytest.mark.parametrize("rows", ["", None, {}, 5, []])
def test_what_is_no_array_is_no_rows(rows: Any) -> None:
    assert result(queries={NAME: rows}).rows == b"[]"


def test_good_rows_go_on_byte_for_byte() -> None:
    body = b'{"queries":{"fleet_distributed_query_5":[{"b":"1","a":"\\u00e9"}]}}'

    assert result_of(parse_write(body), NAME).rows == b'[{"b":"1","a":"\\u00e9"}]'


def test_values_that_are_no_strings_become_strings() -> None:
    rows = [{"a": 1, "b": None, "c": True, "d": [1], "e": "x"}, "no row", 5]

    assert json.loads(result(queries={NAME: rows}).rows) == [{"a": "1", "b": "", "c": "1", "d": "[1]", "e": "x"}]


HUGE = "9" * 5000


@pytest.mark.parametrize("number", ["1e400", "-1e400", HUGE, f"-{HUGE}", "1.50", "-0", "1E5"])
def test_a_number_becomes_its_own_text_however_large_it_is(number: str) -> None:
    body = f'{{"queries":{{"{NAME}":[{{"a":{number},"b":"x"}},{{"n":[ {number} ]}}]}}}}'

    rows = json.loads(result_of(parse_write(body.encode()), NAME).rows)

    assert rows == [{"a": number, "b": "x"}, {"n": f"[{number}]"}]


ODD_NUMBERS = st.sampled_from(["1e400", "-1e999", HUGE, f"1.{HUGE}", "NaN", "-", "01", "+1", "1e", "Infinity", "\x01"])
ODD_TEXTS = st.sampled_from(['"\\ud800"', '"\\q"', '"a\x01b"', '"\x00"', '"\udcff"', "tru", '"'])
SCALARS = st.one_of(ODD_NUMBERS, ODD_TEXTS, st.text().map(json.dumps), st.floats().map(json.dumps))


def object_of(members: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}"


def one_level(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
    return arrays | st.dictionaries(st.sampled_from("abc"), inner).map(object_of)


VALUES = st.recursive(SCALARS, one_level, max_leaves=8)


@given(VALUES, VALUES, st.sampled_from(["queries", "statuses", "messages", "stats"]))
@example("[" * 900 + "1" + "]" * 900, "1", "queries")
@example("[" * 90_000 + "1" + "]" * 90_000, "1", "stats")
def test_whatever_a_host_sends_is_read_or_refused_as_malformed(value: str, other: str, member: str) -> None:
    members = {"queries": f'{{"{NAME}":[{{"b":{other}}}]}}'} | {member: f'{{"{NAME}":[{{"a":{value}}}]}}'}

    try:
        found = result_of(parse_write(object_of(members).encode("utf-8", "surrogateescape")), NAME)
    except Malformed:
        return

    assert all(isinstance(text, str) for row in json.loads(found.rows) for text in row.values())


@pytest.mark.parametrize("messages", [None, {}, {NAME: None}, {NAME: ""}, {NAME: []}, "x"])
def test_a_missing_message_is_empty(messages: Any) -> None:
    assert result(messages=messages).message == ""


FOUR = {"wall_time_ms": 7, "user_time": 4, "system_time": 2.5, "memory": 303104}


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({NAME: None}, {}),
        ({NAME: []}, {}),
        ({NAME: FOUR}, FOUR),
        (
            {NAME: FOUR | {"more": "x" * 100_000, "memory": -1, "user_time": "4", "system_time": True}},
            {"wall_time_ms": 7},
        ),
        ({NAME: {"memory": 2**63}}, {}),
    ],
)
def test_the_four_known_statistics_go_on_where_they_are_numbers(stats: Any, expected: Any) -> None:
    assert json.loads(result(stats=stats).stats) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fleet_distributed_query_5", (5, 0)),
        ("fleet_distributed_query_5_2", (5, 2)),
        ("fleet_distributed_query_5_2_00ab", (5, 2)),
        ("fleet_distributed_query_", None),
        ("fleet_distributed_query_5x", None),
        ("fleet_distributed_query_99999999999999999999999", None),
    ],
)
def test_a_query_name_tells_campaign_and_attempt(name: str, expected: Any) -> None:
    assert campaign_of(name) == expected


def test_kinds_are_told_by_prefix() -> None:
    assert [
        kind_of(f"fleet_{kind}_query_x") for kind in ("distributed", "detail", "additional", "label", "policy")
    ] == [
        "campaign",
        "detail",
        "detail",
        "label",
        "policy",
    ]


def test_rows_of_any_depth_are_read_or_malformed() -> None:
    for depth in range(850, 1010):
        body = b'{"queries":{"a":[{"a":"1"},{"a":%s}]}}' % (b"[" * depth + b"]" * depth)
        try:
            rows = json.loads(result_of(parse_write(body), "a").rows)
        except Malformed:
            continue
        assert rows == [{"a": "1"}, {"a": "[" * depth + "]" * depth}]


MAPS = (
    st.none()
    | st.lists(st.none(), max_size=1)
    | st.text(max_size=1)
    | st.dictionaries(st.just(NAME), st.none() | st.integers() | st.booleans() | st.text())
)
MEMBERS = st.fixed_dictionaries(
    {}, optional={"node_key": st.none() | st.text(), "queries": MAPS, "statuses": MAPS, "messages": MAPS, "stats": MAPS}
)


@given(body=MEMBERS)
@example(body={"node_key": "k", "queries": {NAME: [{"a": "1"}]}, "statuses": {NAME: 0}, "messages": {}, "stats": {}})
def test_a_usual_write_is_read_like_any_other(body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    usual = parse_usual_write(text)
    if usual is None:
        assert not isinstance(body["queries"], dict | None)
        return
    plain = parse_plain_write(text)
    assert plain is not None
    assert (usual.node_key, usual.statuses, usual.messages, usual.stats) == (
        plain.node_key,
        plain.statuses,
        plain.messages,
        plain.stats,
    )
    assert {name: bytes(rows) for name, rows in usual.queries.items()} == {
        name: bytes(rows) for name, rows in plain.queries.items()
    }

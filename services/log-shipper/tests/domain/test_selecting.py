"""Filters: each line of a message is taken or filtered, and keeps its place and its host."""

from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
from flotilla_common.contracts.log_destinations import LogFilter
from flotilla_common.contracts.logs import Manifest, Segment
from hypothesis import given
from hypothesis import strategies as st
from log_shipper.domain.messages import open_all
from log_shipper.domain.routing import Routed, route
from log_shipper.domain.selecting import HostFacts, Selection
from log_shipper.names import query_of
from log_shipper.sinks import Limits
from log_shipper.store.stream import StoredMessage

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
LIMITS = Limits(1_000_000, 1000, 0.0)
PORTS, USERS = b'{"name":"pack/Global/Ports","n":1}', b'{"name":"pack/team-3/Users","n":2}'
PLAIN, NAMELESS = b'{"name":"Ports","n":3}', b'{"n":4}'


def message_of(*segments: tuple[int, int, list[bytes]], log_type: str = "result") -> StoredMessage:
    """A message of segments (host, team, lines)."""
    parts = [b"".join(line + b"\n" for line in lines) for _, _, lines in segments]
    heads = [
        Segment(host, team, 1, len(lines), len(part)) for (host, team, lines), part in zip(segments, parts, strict=True)
    ]
    data = msgspec.json.encode(Manifest(v=1, type=log_type, segments=heads)) + b"\n" + b"".join(parts)
    return StoredMessage(9, NOW, f"logs.{log_type}.v1.0", sum(head.lines for head in heads), data)


def taken(message: StoredMessage, wanted: LogFilter, limits: Limits = LIMITS, **facts: object) -> Routed:
    opened, poison = open_all([message])
    return route(opened, poison, Selection(wanted), limits, HostFacts(**facts))


def lines_of(routed: Routed) -> list[tuple[int, int, bytes]]:
    return [(line.index, line.host_id, line.raw) for chunk in routed.chunks for line in chunk.each()]


MESSAGE = message_of((1, 0, [PORTS, USERS]), (2, 3, [PLAIN]), (3, 3, [NAMELESS, PORTS]))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"queries": {"Ports"}}, [0, 2, 4]),
        ({"packs": {"Global"}}, [0, 4]),
        ({"queries": {"Users"}, "packs": {"Global"}}, []),
        ({"teams": {0}}, [0, 1]),
        ({"teams": {3}, "queries": {"Ports"}}, [2, 4]),
        ({"platforms": {"ubuntu"}}, [0, 1]),
        ({"platforms": {"ubuntu", "darwin"}}, [0, 1, 2]),
        ({"labels": {7}}, [2, 3, 4]),
        ({"labels": {7}, "platforms": {"ubuntu"}}, []),
        ({"log_types": {"status"}}, []),
    ],
)
def test_a_line_must_match_every_member_that_is_given(wanted, expected):
    routed = taken(MESSAGE, LogFilter(**wanted), platforms={1: "ubuntu", 2: "darwin"}, labelled=frozenset({2, 3}))

    assert [index for index, _, _ in lines_of(routed)] == expected
    [tally] = routed.tally.lines.values()
    assert (tally["delivered"], tally["filtered"]) == (len(expected), 5 - len(expected))


def test_a_line_keeps_its_host_and_its_place():
    routed = taken(MESSAGE, LogFilter(queries={"Ports"}))

    assert lines_of(routed) == [(0, 1, PORTS), (2, 2, PLAIN), (4, 3, PORTS)]
    assert [line.team_id for chunk in routed.chunks for line in chunk.each()] == [0, 3, 3]


def test_a_line_that_is_filtered_is_not_refused_for_its_length():
    routed = taken(MESSAGE, LogFilter(queries={"Users"}), Limits(1_000_000, 1000, 0.0, line_bytes=20))

    assert [(refusal.index, refusal.line) for refusal in routed.refusals] == [(1, USERS)]
    [tally] = routed.tally.lines.values()
    assert (tally["delivered"], tally["filtered"], tally["dead_lettered"]) == (0, 4, 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (PORTS, ("Ports", "Global")),
        (b'{"name":"pack_Global_Open ports"}', ("Open ports", "Global")),
        (b'{"name":"pack/Global/a/b"}', ("a/b", "Global")),
        (b'{"name":"packages"}', ("packages", "")),
        (b'{"name":"pack"}', ("pack", "")),
        (b'{"name":"pack/lonely"}', ("pack/lonely", "")),
        (b'{"name":"pack//"}', ("", "")),
        (b'{"name":7}', ("", "")),
        (b"{}", ("", "")),
        (b"[1]", ("", "")),
        (b'{"name":"\xff"}', ("", "")),
        (b"[" * 5000, ("", "")),
        (b'{"a":' + b"[" * 5000, ("", "")),
        (b"", ("", "")),
    ],
)
def test_a_line_names_its_query_and_pack_or_none(line, expected):
    assert query_of(line) == expected


LINE = st.sampled_from([PORTS, USERS, PLAIN, NAMELESS, b"", b"not json"])
SEGMENT = st.tuples(st.integers(1, 4), st.integers(0, 2), st.lists(LINE, max_size=4))
FILTER = st.builds(
    LogFilter,
    queries=st.none() | st.frozensets(st.sampled_from(["Ports", "Users"]), min_size=1),
    teams=st.none() | st.frozensets(st.integers(0, 2), min_size=1),
    labels=st.none() | st.just(frozenset({7})),
)


@given(st.lists(SEGMENT, max_size=4), FILTER, st.frozensets(st.integers(1, 4)), st.none() | st.integers(10, 40))
def test_every_line_is_counted_once(segments, wanted, labelled, longest):
    message = message_of(*segments)
    limits = Limits(1_000_000, 1000, 0.0, line_bytes=longest)

    routed = taken(message, wanted, limits, labelled=labelled)

    total = sum(routed.tally.lines.values(), Counter())
    assert sum(total.values()) == message.lines
    assert total["delivered"] == len(lines_of(routed)) == sum(chunk.lines for chunk in routed.chunks)
    lines = [line for _, _, some in segments for line in some]
    assert all(lines[index] == raw for index, _, raw in lines_of(routed))

"""Routing: every line of a message is counted once, whatever the message holds."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from flotilla_common.contracts.log_destinations import LogFilter
from hypothesis import given
from hypothesis import strategies as st
from log_shipper.domain.messages import open_all, open_message
from log_shipper.domain.routing import Routed, route
from log_shipper.domain.selecting import Selection
from log_shipper.errors import BadManifest
from log_shipper.sinks import Limits
from log_shipper.store.stream import StoredMessage, lines_of

from ..conftest import message_body

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
LIMITS = Limits(10_000, 100, 0.0, line_bytes=8)
LINE = st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"."))


RESULTS = Selection(LogFilter(log_types={"result"}))


def routed_of(message: StoredMessage, selection: Selection = RESULTS, limits: Limits = LIMITS) -> Routed:
    opened, poison = open_all([message])
    return route(opened, poison, selection, limits)


def stored(data: bytes, lines: int, log_type: str = "result") -> StoredMessage:
    return StoredMessage(9, NOW, f"logs.{log_type}.v1.0", lines, data)


@given(st.lists(LINE, max_size=6))
def test_every_line_is_delivered_or_dead_lettered(lines):
    routed = routed_of(stored(message_body("result", lines), len(lines)))

    total = sum(routed.tally.lines.values(), Counter())
    assert total["delivered"] + total["dead_lettered"] == len(lines)
    assert b"".join(chunk.body for chunk in routed.chunks) == b"".join(line + b"\n" for line in lines if len(line) <= 8)
    assert [refusal.line for refusal in routed.refusals] == [line for line in lines if len(line) > 8]


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_are_either_sound_or_poison(data, lines):
    message = stored(data, lines)

    routed = routed_of(message)

    assert sum(sum(routed.tally.lines.values(), Counter()).values()) == lines


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 2}, "version 2"),
        ({"type": "status"}, "log type 'status'"),
        ({"segments": []}, "counts 0 lines"),
    ],
)
def test_a_manifest_that_does_not_describe_its_lines_is_poison(changes, reason):
    message = stored(message_body("result", [b"{}"], **changes), 1)

    with pytest.raises(BadManifest, match=reason):
        open_message(message)


def test_a_manifest_whose_bytes_differ_is_poison():
    data = message_body("result", [b"{}", b"{}"])

    with pytest.raises(BadManifest, match="bytes"):
        open_message(stored(data[:-1], 2))


@pytest.mark.parametrize(
    ("header", "lines"),
    [("3", 3), ("0", 0), ("-1", 1), ("3.5", 1), ("", 1), (None, 1), ("٣", 1), ("9" * 40, 1), ("x", 1)],
)
def test_a_message_counts_as_its_header_says_else_as_one_line(header, lines):
    assert lines_of(None if header is None else {"Lines": header}) == lines

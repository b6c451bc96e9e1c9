"""What an answer comes to, without any server."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from flotilla_common.contracts.campaigns import CampaignAnswer
from live_query.domain.answers import KeptRows, Limits, cut, interpret, stats_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WIDE = Limits(rows=1000, rows_bytes=1_000_000)


def answer(status: int = 0, message: str = "", rows: bytes = b"[]", stats: bytes = b"null") -> CampaignAnswer:
    return CampaignAnswer(5, 1, status, message, msgspec.Raw(rows), msgspec.Raw(stats))


def test_rows_within_the_limits_stay_byte_for_byte():
    rows = b'[ {"a":"\\u0041"} , {"a":"2"}]'

    assert cut(rows, WIDE) == KeptRows(rows, 2, truncated=False, sent=2)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(2, 1000), KeptRows(b'[{"a":"1"},{"a":"2"}]', 2, truncated=True, sent=3)),
        (Limits(9, 24), KeptRows(b'[{"a":"1"},{"a":"2"}]', 2, truncated=True, sent=3)),
        (Limits(9, 13), KeptRows(b'[{"a":"1"}]', 1, truncated=True, sent=3)),
        (Limits(9, 3), KeptRows(b"[]", 0, truncated=True, sent=3)),
        (Limits(0, 1000), KeptRows(b"[]", 0, truncated=True, sent=3)),
    ],
)
def test_rows_beyond_a_limit_are_cut_whole(limits, kept):
    assert cut(b'[{"a":"1"},{"a":"2"},{"a":"3"}]', limits) == kept


def test_a_success_keeps_its_rows_and_no_message():
    entry, rows = interpret(9, answer(message="all fine", rows=b'[{"a":"1"}]'), WIDE, settled_at=NOW)

    assert (entry.campaign_id, entry.host_id, entry.outcome, entry.error, entry.row_count) == (5, 9, "answered", "", 1)
    assert rows == b'[{"a":"1"}]'


@pytest.mark.parametrize(
    ("status", "message", "outcome", "error"),
    [
        (1, "no such table: x", "failed", "no such table: x"),
        (1, "distributed query is denylisted", "denylisted", "distributed query is denylisted"),
        (1, "", "failed", "query failed with status 1"),
        (-3, "\x00", "failed", "query failed with status -3"),
        (1, "a\x00b", "failed", "ab"),
        (1, "x" * 9000, "failed", "x" * 8192),
    ],
)
def test_any_other_status_is_an_error_with_a_text_and_no_rows(status, message, outcome, error):
    entry, rows = interpret(9, answer(status, message, rows=b'[{"a":"1"}]'), WIDE, settled_at=NOW)

    assert (entry.outcome, entry.error, entry.row_count, rows) == (outcome, error, 0, b"[]")


@pytest.mark.parametrize(
    ("text", "stats"),
    [
        (b'{"wall_time_ms":1,"user_time":2.5,"system_time":0,"memory":-4}',
         {"wall_time_ms": 1, "user_time": 2.5, "system_time": 0, "memory": -4}),
        (b'{"memory":7,"secret":1,"user_time":"9","system_time":true}', {"memory": 7}),
        (b'{"memory":1e300}', None),
        (b"{}", None),
        (b"null", None),
        (b"[1]", None),
    ],
)  # fmt: skip
def test_only_the_four_numbers_of_osquery_are_kept(text, stats):
    assert stats_of(text) == stats

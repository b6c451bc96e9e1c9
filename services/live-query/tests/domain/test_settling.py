"""Which answers count, without any server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from live_query.domain.settling import refusal
from live_query.store.campaigns import CampaignState

DEADLINE = datetime(2026, 1, 2, tzinfo=UTC)
OPEN = CampaignState(
    1, "durable", open=True, deadline=DEADLINE, end_reason=None, created_at=DEADLINE, trace_id="ab" * 16
)
CLOSED = replace(OPEN, open=False, end_reason="stopped")
WATCHED = replace(OPEN, kind="viewer")
STOPPED = replace(WATCHED, end_reason="stopped")
UNWATCHED = replace(WATCHED, open=False, end_reason="deadline")


@pytest.mark.parametrize(
    ("campaign", "state", "seconds", "expected"),
    [
        (OPEN, "pending", 0, None),
        (OPEN, "pending", 1, "late"),
        (CLOSED, "pending", -1, "late"),
        (WATCHED, "pending", 3600, None),
        (WATCHED, "answered", 3600, "duplicate"),
        (STOPPED, "pending", 0, None),
        (STOPPED, "pending", 1, "late"),
        (UNWATCHED, "pending", -1, "late"),
        (OPEN, "answered", -1, "duplicate"),
        (CLOSED, "failed", 1, "duplicate"),
        (OPEN, "denylisted", -1, "duplicate"),
        (CLOSED, "expired", -1, "late"),
        (CLOSED, "cancelled", -1, "late"),
        (OPEN, "unreachable", -1, "late"),
        (OPEN, None, -1, "foreign"),
        (None, None, -1, "unknown"),
    ],
)
def test_an_answer_counts_when_its_host_is_pending_and_it_came_in_time(campaign, state, seconds, expected):
    assert refusal(campaign, state, DEADLINE + timedelta(seconds=seconds)) == expected

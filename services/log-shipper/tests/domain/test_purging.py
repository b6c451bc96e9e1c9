"""Purging: never what somebody lacks, never more than it takes to get below the replay window."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from log_shipper.domain.purging import purge_before
from log_shipper.store.stream import StreamState

MADE = datetime(2026, 1, 1, tzinfo=UTC)


def filled(messages: int, used: int, first: int = 1) -> StreamState:
    return StreamState(first, first + messages - 1, messages, used, 1000, MADE)


def test_a_stream_below_its_window_is_left_alone():
    assert purge_before(filled(10, 500), 10, 0.5) is None


def test_only_the_excess_is_purged():
    assert purge_before(filled(10, 700), 10, 0.5) == 4  # 3 of 70 bytes each go, 490 stay


def test_what_is_not_settled_stays_however_full_it_is():
    assert purge_before(filled(10, 1000, first=5), 6, 0.5) == 7
    assert purge_before(filled(10, 1000, first=5), 4, 0.5) is None


@given(st.integers(0, 50), st.integers(0, 2000), st.integers(1, 100), st.integers(0, 200), st.floats(0, 1))
def test_nothing_beyond_the_settled_ever_goes(messages, used, first, settled, window):
    before = purge_before(filled(messages, used, first), settled, window)

    assert before is None or first < before <= settled + 1

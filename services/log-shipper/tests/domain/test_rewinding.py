"""Cursors and streams that are not what they were."""

from datetime import UTC, datetime

from log_shipper.domain.rewinding import rewind_to
from log_shipper.store.stream import StreamState

MADE = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
STATE = StreamState(5, 20, 16, 1600, 10_000, MADE)


def test_a_cursor_within_its_stream_stays():
    assert rewind_to(STATE, 12, MADE) is None
    assert rewind_to(STATE, 20, MADE) is None
    assert rewind_to(STATE, 0, None) is None


def test_a_stream_made_anew_is_read_from_its_beginning():
    assert rewind_to(STATE, 12, LATER) == 4


def test_a_stream_that_lost_its_end_goes_on_where_it_ends():
    assert rewind_to(STATE, 25, MADE) == 20

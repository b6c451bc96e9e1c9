"""Cursors and streams that are not what they were."""

from datetime import UTC, datetime, timedelta

import pytest
from log_shipper.domain.rewinding import is_another, rewind_to
from log_shipper.store.stream import StoredMessage, StreamState

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


@pytest.mark.parametrize(("seconds", "another"), [(0.0, False), (0.0000015, False), (-0.0000015, False), (0.1, True)])
def test_a_message_is_known_by_its_time(seconds, another):
    message = StoredMessage(7, LATER + timedelta(seconds=seconds), "logs.result.v1.0", 1, b"")

    assert is_another(message, LATER) is another
    assert not is_another(None, LATER)

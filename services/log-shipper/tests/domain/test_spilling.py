"""What goes to the blob store, what can be purged, and what nobody needs any more."""

from datetime import UTC, datetime, timedelta

import pytest
from log_shipper.domain.spilling import Need, Part, covered_to, settled, to_spill, useless
from log_shipper.store.stream import StreamState

MADE = datetime(2026, 11, 24, tzinfo=UTC)
NOW = MADE + timedelta(days=3)


def stream(first: int = 1, last: int = 1000) -> StreamState:
    """100 bytes a message; a quarter of the limit is 100 messages."""
    return StreamState(first, last, last - first + 1, (last - first + 1) * 100, 40_000, MADE)


def part(first: int, last: int, made: datetime = MADE, created: datetime = NOW) -> Part:
    return Part(first, first, last, made, created)


def test_nothing_goes_while_the_backlog_is_small():
    assert to_spill(stream(), [Need(900), Need(1000)], []) is None


def test_a_backlog_above_its_share_goes_until_half_of_that_is_left():
    assert to_spill(stream(), [Need(899), Need(1000)], []) == (900, 950)


def test_a_destination_can_say_what_may_wait():
    assert to_spill(stream(), [Need(899, backlog_bytes=20_000)], []) is None
    assert to_spill(stream(), [Need(970, backlog_bytes=2_000)], []) == (971, 990)


def test_what_is_required_never_goes():
    assert to_spill(stream(), [Need(0, is_required=True)], []) is None


def test_one_that_buries_has_twice_the_room():
    assert to_spill(stream(), [Need(850, buries=True)], []) is None
    assert to_spill(stream(), [Need(700, buries=True)], []) == (701, 900)


def test_what_is_there_already_is_not_stored_again():
    assert to_spill(stream(501), [Need(400)], [part(401, 600), part(601, 700)]) == (701, 950)
    assert to_spill(stream(501), [Need(400)], [part(401, 600), part(651, 700)]) == (601, 650)


def test_what_is_stored_waits_no_more_even_if_it_is_not_purged():
    assert to_spill(stream(), [Need(800)], [part(801, 900)]) is None
    assert to_spill(stream(), [Need(800)], [part(801, 899)]) == (900, 950)


def test_two_that_lag_share_the_parts():
    assert to_spill(stream(), [Need(300), Need(100)], []) == (101, 950)


def test_what_the_stream_has_lost_is_not_asked_for():
    assert to_spill(stream(501), [Need(100)], []) == (501, 950)


def test_an_empty_stream_has_nothing_to_store():
    assert to_spill(StreamState(11, 10, 0, 0, 40_000, MADE), [Need(0)], []) is None


@pytest.mark.parametrize(
    ("cursor", "to"), [(0, 0), (9, 9), (10, 20), (15, 20), (20, 20), (30, 50), (41, 50), (50, 50), (60, 60)]
)
def test_a_cursor_is_covered_as_far_as_parts_follow_without_a_gap(cursor, to):
    assert covered_to(cursor, [part(11, 20), part(31, 40), part(41, 50)]) == to


def test_what_can_be_purged_is_what_everybody_has_or_finds_in_the_blob_store():
    parts = [part(101, 200), part(201, 300)]

    assert settled(900, [Need(100), Need(700)], parts) == 300
    assert settled(900, [Need(99), Need(700)], parts) == 99
    assert settled(250, [Need(100), Need(700)], parts) == 250
    assert settled(900, [], parts) == 900


def test_a_part_goes_when_nobody_reads_it_and_it_is_old_enough():
    parts = [part(1, 10), part(11, 20), part(1, 10, made=NOW)]

    assert useless(parts, [(MADE, 10)], None) == [1, 1]
    assert useless(parts, [(MADE, 9)], None) == [1]
    assert useless(parts[:2], [(NOW, 0)], None) == [1, 11]
    assert useless(parts[:2], [(MADE, 20)], NOW) == []
    assert useless(parts[:2], [(MADE, 20)], NOW + timedelta(seconds=1)) == [1, 11]

"""Cutting: nothing lost, nothing reordered, no batch above its limits unless one message alone is."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from log_shipper.domain.cutting import Cutter
from log_shipper.sinks import Limits

SIZES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)))


def cut(sizes: list[tuple[int, int]], limits: Limits) -> list[list[tuple[int, int]]]:
    batches: list[list[tuple[int, int]]] = []
    cutter = Cutter(limits)
    for size in sizes:
        if not batches or not cutter.takes(*size):
            cutter = Cutter(limits)
            assert cutter.takes(*size)
            batches.append([])
        batches[-1].append(size)
    return batches


@given(SIZES, st.integers(1, 100), st.integers(1, 10))
def test_batches_hold_everything_in_order_within_limits(sizes, most_bytes, most_lines):
    batches = cut(sizes, Limits(most_bytes, most_lines, 0.0))

    assert [size for batch in batches for size in batch] == sizes
    for batch in batches:
        within = sum(size for size, _ in batch) <= most_bytes and sum(lines for _, lines in batch) <= most_lines
        assert within or len(batch) == 1


@given(SIZES, st.integers(1, 100), st.integers(1, 10))
def test_a_batch_is_cut_only_where_the_next_message_does_not_fit(sizes, most_bytes, most_lines):
    batches = cut(sizes, Limits(most_bytes, most_lines, 0.0))

    for batch, after in pairwise(batches):
        grown = [*batch, after[0]]
        assert sum(size for size, _ in grown) > most_bytes or sum(lines for _, lines in grown) > most_lines

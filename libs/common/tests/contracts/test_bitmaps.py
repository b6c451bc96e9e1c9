"""Bitmaps from other processes."""

import pytest
from flotilla_common.contracts.bitmaps import bitmap_of
from pyroaring import BitMap

SOME = BitMap(range(0, 200_000, 3))


def test_what_was_serialized_is_read():
    assert bitmap_of(SOME.serialize()) == SOME


@pytest.mark.parametrize("data", [b"", b"\0", b"garbage", SOME.serialize()[:-1]])
def test_what_is_no_bitmap_is_a_value_error(data):
    with pytest.raises(ValueError, match="no bitmap"):
        bitmap_of(data)

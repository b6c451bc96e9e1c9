"""Sets of host ids on the wire: Roaring bitmaps in the portable format."""

from __future__ import annotations

from collections.abc import Iterable

from pyroaring import BitMap


def bitmap_of(data: bytes) -> BitMap:
    """Read a bitmap that another process wrote.

    Raises:
        ValueError: it makes no sense. (pyroaring 1.2 raises IndexError when it is empty.)

    """
    try:
        return BitMap.deserialize(data)
    except (IndexError, ValueError) as error:
        message = f"{len(data)} bytes are no bitmap: {error}"
        raise ValueError(message) from error


def bytes_of(host_ids: Iterable[int]) -> bytes:
    """Write a bitmap; the same set always gives the same bytes."""
    bitmap = BitMap(host_ids)
    bitmap.run_optimize()
    data: bytes = bitmap.serialize()
    return data

"""The C library's allocator, told to keep what will be needed again in a moment.

A message of a megabyte is made and gone within milliseconds, twice over. As it comes, glibc gives such memory back to
the system each time and takes it anew, page by page: a tenth of the processor time of a gateway that takes in logs.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 32 * 1024 * 1024  # of free memory at the end of a heap; threads that read large bodies have their own
MAPPED_BYTES = 4 * 1024 * 1024  # larger blocks are mapped one by one, and given back at once
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Return whether the C library could be told; musl's, and those of other systems, cannot."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(name, size) == 1 for name, size in ((M_TRIM_THRESHOLD, KEPT_BYTES), (M_MMAP_THRESHOLD, MAPPED_BYTES))
    )

"""Threads for what would hold the event loop: files, compression, and names that are looked up.

A place that hangs (a dead network file system, a name server that does not answer) holds the threads that wait for it.
There are so many that others find one: by default there are a handful, and look-ups share two.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

THREADS = 128
LIBUV = "UV_THREADPOOL_SIZE"  # read at the first look-up; half of them may look up at once


def make_room_for_names() -> None:
    """Say how many threads uvloop has; before the first loop runs."""
    os.environ.setdefault(LIBUV, str(THREADS))


def make_room_for_work() -> None:
    """Give the running loop's `to_thread` its own many; they are made when they are needed."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="work"))

"""Heed a cancellation that a library swallowed.

nats-py drops it while it flushes, and `asyncio.wait_for` of Python 3.11 when the awaited thing is done in the same
moment. A loop that runs for ever would then never end.
"""

from __future__ import annotations

import asyncio


def heed() -> None:
    """Raise CancelledError when this task has been told to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

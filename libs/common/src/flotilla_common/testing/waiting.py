"""Wait for something to become true, or for the event loop to come round: the only ways tests wait."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

STEP_SECONDS = 0.02


async def eventually(check: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Call `check` (plain or async) until it returns something true, and return that.

    An AssertionError inside `check` counts as "not yet"; the last one is raised when the time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        failure: AssertionError | None = None
        try:
            result = check()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            if failure is not None:
                raise failure
            message = f"still not true after {timeout:g} s: {getattr(check, '__name__', check)!s}"
            raise AssertionError(message)
        await asyncio.sleep(STEP_SECONDS)


async def turns(count: int = 5) -> None:
    """Let the event loop come round so many times, where what is waited for takes no time."""
    for _ in range(count):
        await asyncio.sleep(0)

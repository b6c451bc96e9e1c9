"""What a post is once all that can be done with it at once has been done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TAKEN = b"{}"

Begun = tuple[list[asyncio.Future[None]], Callable[[], None]]
"""What must be in custody before TAKEN is said, and what is to be noted then."""


def nothing_to_note() -> None:
    """Note nothing."""

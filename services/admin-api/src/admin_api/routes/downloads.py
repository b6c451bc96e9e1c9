"""Answers that are sent while they are read: none is in memory as a whole, and a part that is down is waited for.

What fails before the first byte is an error as ever. Later only the connection can tell: it breaks, so that nobody
takes half of a file for all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

import structlog
from fastapi import Response
from fastapi.responses import StreamingResponse
from flotilla_common.bus import outage

log = structlog.get_logger()

Place = TypeVar("Place")
Part = TypeVar("Part")

OUTAGE_SECONDS = 1.0
PATIENCE_SECONDS = 35.0  # without anything new: longer than a file of the archive is waited for, so that what is lost
# of it is told; shorter than the minute without a byte that proxies wait for


class BrokenOff(Exception):
    """An answer ends before its end. It has been logged, and its status has been sent."""


async def streamed(
    parts: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """Return an answer of these parts, one at least. What the first one raises is answered as ever."""
    first = await anext(parts)
    return StreamingResponse(_all(first, parts), headers=dict(headers or {}), media_type=media_type)


async def download(parts: AsyncIterator[bytes], file_name: str, media_type: str) -> Response:
    """Return an answer that browsers keep as a file."""
    return await streamed(parts, media_type, {"content-disposition": f'attachment; filename="{file_name}"'})


async def _all(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    try:
        async for part in parts:
            if part:
                yield part
            await asyncio.sleep(0)  # a client that is fast enough would keep everybody else waiting
    except outage.kinds() as error:
        log.warning("an answer breaks off: a part that is down", error=repr(error))
        raise BrokenOff from error


async def patiently(
    read_from: Callable[[Place], AsyncIterator[tuple[Place, Part]]], start: Place, *, begun: bool = False
) -> AsyncIterator[tuple[Place, Part]]:
    """Yield what there is behind a place, each part with its own place. After an outage it goes on where it was.

    Who has got nothing yet (unless the answer has `begun`) does not wait.

    Raises:
        Unavailable: or another kind of outage, that lasts longer than PATIENCE_SECONDS.

    """
    clock = asyncio.get_running_loop().time
    place, until = start, clock() + (PATIENCE_SECONDS if begun else 0.0)
    while True:
        try:
            async for reached, part in read_from(place):
                yield reached, part
                place = reached
                until = clock() + PATIENCE_SECONDS
        except outage.kinds() as error:
            if clock() >= until:
                raise
            log.info("an answer waits for a part that is down", error=repr(error))
            await asyncio.sleep(OUTAGE_SECONDS)
        else:
            return

"""The last part of a live query's trace: answers reach a viewer. It goes on where the campaign's start was."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from flotilla_common.contracts.campaigns import split_command
from flotilla_common.errors import Poison
from flotilla_common.telemetry import context_from
from opentelemetry import trace

from admin_api.store.campaign_rows import RowsEntry

EVERY_SECONDS = 1.0  # of the answers to one viewer at most so many are shown in the trace
tracer = trace.get_tracer(__name__)


class _Traced(msgspec.Struct):
    trace: str = ""
    span: str = ""


class ViewerTrace:
    """Shows in a campaign's trace that one viewer was sent answers: the first, then at most one read a second.

    `clock` is any clock that only grows, in seconds.
    """

    def __init__(self, command: bytes, clock: Callable[[], float]) -> None:
        self._parent = parent_of(command)
        self._clock = clock
        self._next = 0.0

    def sent(self, entries: list[RowsEntry], began: int) -> None:
        """Note that these answers were sent; `began`: when they had been read, nanoseconds of Unix time."""
        if not (entries and self._parent) or self._clock() < self._next:
            return
        self._next = self._clock() + EVERY_SECONDS
        first = entries[0]
        facts: dict[str, str | int] = {
            "host_id": first.host_id,
            "position": first.position,
            "outcome": first.outcome,
            "hosts": len(entries),
        }
        context = context_from({"traceparent": self._parent})
        tracer.start_span("show answers", context=context, start_time=began, attributes=facts).end(time.time_ns())


def parent_of(command: bytes) -> str:
    """Return the W3C trace parent in a campaign's stored command, empty if there is none to go on with."""
    try:
        found = msgspec.json.decode(split_command(command)[1], type=_Traced)
    except (Poison, msgspec.DecodeError):
        return ""
    return f"00-{found.trace}-{found.span}-01" if found.trace and found.span else ""

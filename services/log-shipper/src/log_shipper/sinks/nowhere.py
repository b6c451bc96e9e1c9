"""Nowhere: takes no line. Stands in for a destination that was taken out of FLOTILLA_DESTINATIONS.

Its lines count as filtered, so that its books go on balancing and the stream can be purged past it.
"""

from __future__ import annotations

from datetime import datetime

from flotilla_common.settings import CommonSettings

from log_shipper.sinks import Batch, Limits, Refusal, Target


class Settings(CommonSettings):
    """There are none."""


def create(settings: Settings) -> NowhereSink:
    """Make a sink named `nowhere`."""
    del settings
    return NowhereSink("nowhere")


class NowhereSink:
    """Filters everything."""

    limits = Limits(batch_bytes=8 * 1024 * 1024, batch_lines=1_000_000, batch_seconds=5.0)
    log_types: frozenset[str] = frozenset()

    def __init__(self, name: str) -> None:
        self.name = name

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """There is no place."""
        del first_sequence, last_sequence, started_at
        return {}

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Deliver nothing: no line gets this far."""
        del batch, target
        return []

    async def close(self) -> None:
        """Nothing is open."""

"""Nowhere: takes no line. Finishes the books of a destination that was taken away: what it lacks counts as filtered."""

from __future__ import annotations

from datetime import datetime

from log_shipper.sinks import Batch, Limits, Refusal, Target


class NowhereSink:
    """Is never given a line."""

    limits = Limits(batch_bytes=8 * 1024 * 1024, batch_lines=1_000_000, batch_seconds=0.0)
    replaces = True

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """There is no place."""
        del first_sequence, last_sequence, started_at
        return {}

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Deliver nothing."""
        del batch, target
        return []

    async def try_out(self, line: bytes) -> str:
        """There is no place."""
        del line
        return ""

    async def close(self) -> None:
        """Nothing is open."""

"""Where to cut a batch: before the message that would make it too large."""

from __future__ import annotations

from log_shipper.sinks import Limits


class Cutter:
    """The measure of one batch. Its first message always fits, however large it is."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.messages = 0
        self.lines = 0
        self.size_bytes = 0

    def takes(self, size_bytes: int, lines: int) -> bool:
        """Count a message in, or say that the batch must be cut before it."""
        fits = (
            self.size_bytes + size_bytes <= self._limits.batch_bytes and self.lines + lines <= self._limits.batch_lines
        )
        if self.messages and not fits:
            return False
        self.messages += 1
        self.size_bytes += size_bytes
        self.lines += lines
        return True

    @property
    def is_full(self) -> bool:
        """Whether no further message could fit."""
        return self.size_bytes >= self._limits.batch_bytes or self.lines >= self._limits.batch_lines

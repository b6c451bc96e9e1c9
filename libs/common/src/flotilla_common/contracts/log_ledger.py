"""The books of the logs. Answered by log-shipper alone."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from flotilla_common.contracts.base import Answer, Message, Request


class LedgerEntry(Message):
    """Lines of one log type at one destination: received = filtered + delivered + dead_lettered + pending.

    `duplicates` stand beside: lines delivered once more than needed, or perhaps so.
    """

    destination: str
    log_type: str
    received: int
    filtered: int
    delivered: int
    dead_lettered: int
    pending: int
    duplicates: int = 0
    hour: datetime | None = None
    """When custody of the lines began, to the hour; None: over all hours."""


class HostLosses(Message):
    """What hosts say that they threw away before they could send it; it is in no destination's `received`.

    `lines` is a lower bound; `warnings`: status lines that said so; `hosts`: how many hosts did.
    """

    lines: int = 0
    warnings: int = 0
    hosts: int = 0


class LogLedgerAnsweredV1(Answer):
    """The books as they stood when the stream's newest message was `stream_sequence`."""

    stream_sequence: int
    entries: tuple[LedgerEntry, ...]
    host_losses: HostLosses = HostLosses()


class LogLedgerV1(Request[LogLedgerAnsweredV1]):
    """Show the ledger of every destination and log type; with `since`, of each hour from then on, those with lines."""

    subject: ClassVar[str] = "log_shipper.ledger.v1"
    answer: ClassVar[type[Answer]] = LogLedgerAnsweredV1
    timeout_seconds: ClassVar[float] = 10.0

    since: datetime | None = None

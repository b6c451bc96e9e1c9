"""When a report is due, and when a failed one is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta

EVERY = timedelta(days=1)
FIRST_DELAY = timedelta(minutes=1)
LONGEST_DELAY = timedelta(hours=1)


def is_due(last: datetime | None, now: datetime) -> bool:
    """Whether a day has passed since the last report."""
    return last is None or now - last >= EVERY


def next_attempt(attempts: int, now: datetime) -> datetime:
    """Return when to try again after so many failed attempts: 1 min, 2 min, 4 min, ... at most an hour."""
    delay = FIRST_DELAY * (1 << min(attempts - 1, 10))
    return now + min(delay, LONGEST_DELAY)

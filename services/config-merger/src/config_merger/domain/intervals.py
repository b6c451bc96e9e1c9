"""The intervals that a config sets: how often its hosts poll, which says how long silence means nothing."""

from __future__ import annotations

import json
import re
from typing import Any

OPTIONS = {
    "distributed_interval_seconds": "distributed_interval",
    "config_refresh_seconds": "config_refresh",
    "logger_tls_period_seconds": "logger_tls_period",
}
LIMIT = 2**31  # osqueryd holds them in 32 bits


def intervals_of(config: bytes) -> dict[str, int]:
    """Return member of PlanHead -> seconds, for the intervals that compiled config bytes set."""
    options = json.loads(config).get("options")
    found = options if isinstance(options, dict) else {}
    seconds = {member: _seconds(found.get(option)) for member, option in OPTIONS.items()}
    return {member: value for member, value in seconds.items() if value is not None}


def _seconds(value: Any) -> int | None:
    """Return seconds as osqueryd reads them, from a number or a text; None for what is neither."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value.strip()):
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LIMIT
    return value if is_count else None

"""How long a host is kept waiting."""

from __future__ import annotations

from agent_gateway.domain import carves, patience

OSQUERYD_SECONDS = 16.0


def test_the_waits_of_a_request_end_before_osqueryd_gives_up() -> None:
    after_the_key = max(patience.PLAN_SECONDS, patience.HAND_OVER_SECONDS, carves.LIMITS.patience_seconds)

    assert patience.RESOLVE_SECONDS + after_the_key <= OSQUERYD_SECONDS - 3.0

"""How long a host is kept waiting."""

from __future__ import annotations

from agent_gateway.domain import carves, enrollment, patience

OSQUERYD_SECONDS = 16.0
CONNECTION_AND_BODY_SECONDS = 3.0


def test_the_waits_of_a_request_end_before_osqueryd_gives_up() -> None:
    after_the_key = max(patience.PLAN_SECONDS, patience.HAND_OVER_SECONDS, carves.PATIENCE_SECONDS)

    assert patience.RESOLVE_SECONDS + after_the_key <= OSQUERYD_SECONDS - CONNECTION_AND_BODY_SECONDS
    assert enrollment.PATIENCE_SECONDS <= OSQUERYD_SECONDS - CONNECTION_AND_BODY_SECONDS

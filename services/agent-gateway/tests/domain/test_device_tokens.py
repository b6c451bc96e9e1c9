"""What the gateway remembers of device tokens."""

from __future__ import annotations

from datetime import UTC, datetime

from agent_gateway.domain.device_tokens import DeviceTokens
from flotilla_common.contracts.device_tokens import DeviceToken


def test_expired_tokens_are_forgotten() -> None:
    now = 1_000_000.0
    tokens = DeviceTokens(lambda: now)
    for number in range(10):
        tokens.put(
            DeviceToken(
                host_id=number,
                token_hash=f"{number:032x}",
                orbit_key_hash="00" * 16,
                set_at=datetime.fromtimestamp(now - 360 * number, UTC),
                revision=number,
            )
        )
    now += 1800
    tokens.sweep()

    assert len(tokens) == 5
    assert sorted(tokens._by_host) == [0, 1, 2, 3, 4]

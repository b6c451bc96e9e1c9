"""What the gateway remembers of device tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from agent_gateway.domain.device_tokens import DeviceTokens
from flotilla_common.contracts.device_tokens import DeviceToken
from flotilla_common.contracts.hosts import HostRecord

NOW = 1_000_000.0
KEY, OTHER_KEY = "00" * 16, "11" * 16


def token_of(host_id: int, number: int, *, revision: int = 5, age: float = 0.0) -> DeviceToken:
    return DeviceToken(
        host_id=host_id,
        token_hash=f"{number:032x}",
        orbit_key_hash=KEY,
        set_at=datetime.fromtimestamp(NOW - age, UTC),
        revision=revision,
    )


def hash_of(number: int) -> bytes:
    return number.to_bytes(16)


def test_expired_tokens_are_forgotten() -> None:
    now = NOW
    tokens = DeviceTokens(lambda: now)
    for number in range(10):
        tokens.put(token_of(number, number, age=360.0 * number))
    now += 1800
    tokens.sweep()

    assert len(tokens) == 5
    assert sorted(tokens._by_host) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("revision", "orbit_key_hash", "is_good"),
    [(6, OTHER_KEY, False), (6, None, False), (6, KEY, True), (4, OTHER_KEY, True), (4, None, True)],
)
def test_a_newer_record_with_another_orbit_key_ends_a_token_and_an_older_one_does_not(
    revision: int, orbit_key_hash: str | None, is_good: bool
) -> None:
    tokens = DeviceTokens(lambda: NOW)
    tokens.put(token_of(1, 7))

    tokens.heed(HostRecord(host_id=1, revision=revision, node_key_hash=None, orbit_key_hash=orbit_key_hash))

    assert (tokens.find(hash_of(7)) is not None) == is_good


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_hosts_with_one_token_the_later_one_has_it_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    told = [token_of(1, 7, revision=5), token_of(2, 7, revision=9)]
    tokens = DeviceTokens(lambda: NOW)
    for number in order:
        tokens.put(told[number])

    good = tokens.find(hash_of(7))

    assert good is not None
    assert good.host_id == 2


def test_forgetting_all_leaves_none_good() -> None:
    tokens = DeviceTokens(lambda: NOW)
    tokens.put(token_of(1, 7))
    tokens.forget_all()

    assert (tokens.find(hash_of(7)), len(tokens)) == (None, 0)

"""What headers tell."""

from __future__ import annotations

import pytest
from agent_gateway.domain.clients import customer_of, key_in_header, networks, remote_address


@pytest.mark.parametrize(
    ("header", "key"), [("NodeKey abc", "abc"), ("NodeKey ", None), ("Bearer abc", None), ("", None), ("NodeKey", None)]
)
def test_only_the_scheme_nodekey_carries_a_key(header: str, key: str | None) -> None:
    assert key_in_header(header.encode()) == key


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "junk", "junk"),
        ("", "", ""),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:203.0.113.9", "198.51.100.1", "::ffff:203.0.113.9"),
        ("::1", "198.51.100.1", "198.51.100.1"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(peer: str, forwarded: str, expected: str) -> None:
    assert remote_address(peer, forwarded, networks("10.0.0.0/8, ::1/128")) == expected


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_of_ipv6_a_customers_network_is_counted(address: str, counted: str) -> None:
    assert customer_of(address) == counted

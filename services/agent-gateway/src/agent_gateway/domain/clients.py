"""What the headers of a client tell: its key, whether it will reuse its connection, where it comes from."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

# osqueryd of these releases opens a new connection for every request whatever we answer (recorded traffic of 5.23,
# osquery issue 7083), and leaves the old one open; telling it to close frees the socket and loses nothing.
FIRST_THAT_NEVER_REUSES = (4, 1, 0)
FIRST_THAT_MAY_REUSE_AGAIN = (5, 24, 0)
_AGENT = re.compile(rb"osquery/(\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_SCHEME = b"NodeKey "


@lru_cache(maxsize=1024)
def never_reuses(user_agent: bytes) -> bool:
    """Whether a client with this User-Agent opens a new connection for every request anyway."""
    match = _AGENT.match(user_agent)
    if match is None:
        return False
    version = (int(match[1]), int(match[2]), int(match[3]))
    return FIRST_THAT_NEVER_REUSES <= version < FIRST_THAT_MAY_REUSE_AGAIN


def key_in_header(authorization: bytes) -> str | None:
    """Return the node key of an `Authorization: NodeKey <key>` header, None when there is none of this scheme."""
    if not authorization.startswith(_SCHEME):
        return None
    return authorization[len(_SCHEME) :].decode("latin-1").strip() or None


def networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a comma separated list."""
    return tuple(ip_network(item.strip()) for item in text.split(",") if item.strip())


def remote_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Return the client's address: the last one in the chain that no trusted proxy could have made up."""
    chain = [*(item.strip() for item in forwarded_for.split(",") if item.strip()), peer]
    for address in reversed(chain):
        if not within(address, trusted):
            return address[:64]
    return chain[0][:64]


def customer_of(address: str) -> str:
    """Return what is counted for an address: of IPv6 the /64, all of which one customer has; of others the address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped is not None else str(IPv6Network((int(parsed) >> 64 << 64, 64)))


def within(address: str, trusted: tuple[Network, ...]) -> bool:
    """Whether an address is one of these networks'; what is no address is not.

    A socket for both families shows an IPv4 address as one of IPv6 (`::ffff:192.0.2.1`): it is of the IPv4 network.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return any(parsed in network or (mapped is not None and mapped in network) for network in trusted)

"""Whose address a request comes from; forwarded addresses are believed only from configured proxies."""

from __future__ import annotations

import ipaddress

from fastapi.requests import HTTPConnection

from admin_api.deps import deps_of
from admin_api.settings import Network, parse_networks

MOST_HOPS = 20


def client_address(connection: HTTPConnection) -> str:
    """Return the address of whoever speaks to the outermost trusted proxy."""
    trusted = parse_networks(deps_of(connection).settings.trusted_proxies)
    peer = connection.client.host if connection.client else ""
    hops = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")[-MOST_HOPS:]
    for hop in reversed(hops):
        if not _is_trusted(peer, trusted) or not _is_address(hop.strip()):
            break
        peer = hop.strip()
    return peer


def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

"""Addresses that fail too often, told from the request; what they may not do any more is ask about what is unproven.

An address is the peer's own, or the one that a trusted proxy names; never a header of anybody else, and never a proxy
itself. Many hosts may share one behind a NAT: so only failures count, and who is known is served as ever.
"""

from __future__ import annotations

import structlog
from flotilla_common.contracts.hosts import BadEnrollSecret
from flotilla_common.errors import FleetError
from flotilla_common.http.asgi import Scope

from agent_gateway.domain.buckets import Buckets
from agent_gateway.domain.clients import Network, customer_of, remote_address, within
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.roads import class_of
from agent_gateway.errors import Malformed, TooLarge, UnknownNodeKey, UnknownOrbitNodeKey

log = structlog.get_logger()

FAILURES = (UnknownNodeKey, UnknownOrbitNodeKey, BadEnrollSecret, Malformed)
MENTIONS_A_SECOND = 1 / 60  # of bodies above their cap, from one address


class Guard:
    """Stands before both roads. `trusted`: the proxies whose X-Forwarded-For is believed."""

    def __init__(self, gateway: Gateway, trusted: tuple[Network, ...]) -> None:
        self._gateway = gateway
        self._trusted = trusted
        self._mentions: Buckets[str] = Buckets(MENTIONS_A_SECOND, 1)

    def gateway_for(self, scope: Scope) -> Gateway:
        """Return the gateway; for an address that has failed too often one that asks nobody about it."""
        failures = self._gateway.admission.failures
        if not failures.any_spent():
            return self._gateway
        address = self._address_of(scope)
        return self._gateway.cautious() if address is not None and failures.is_spent(address) else self._gateway

    def failed(self, scope: Scope, error: FleetError) -> None:
        """Note a request that got `error`."""
        if isinstance(error, FAILURES):
            address = self._address_of(scope)
            if address is not None:
                self._gateway.admission.failures.take(address)
        elif isinstance(error, TooLarge):
            self._too_large(scope)

    def _too_large(self, scope: Scope) -> None:
        """A batch of logs above the cap comes again and again: its host sends no others until a person helps."""
        request_class = class_of(scope["path"])
        self._gateway.admission.too_large[request_class] += 1
        address = self._address_of(scope) or "a proxy"
        if request_class == "log" and self._mentions.take(address):
            log.warning("a log POST is above the cap, its host is stuck: lower logger_tls_max_lines", address=address)

    def _address_of(self, scope: Scope) -> str | None:
        """Return the client's address as it is counted, None when only a proxy's is known."""
        client = scope.get("client")
        peer: str = client[0] if client else ""
        if not peer:
            return None
        if not self._trusted:
            return customer_of(peer)
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        address = remote_address(peer, forwarded.decode("latin-1"), self._trusted)
        return None if within(address, self._trusted) else customer_of(address)

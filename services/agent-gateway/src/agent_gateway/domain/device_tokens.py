"""Which device tokens are good. All of them are known here, so every other one is refused without asking anybody.

A token is vouched for by the orbit key that set it: the host is found by that key, which dies with the host and with
the next enroll of its orbit. Events of stream DEVICE_TOKENS, answers to our own requests and records of hosts come here
in any order; all their revisions are of one sequence, so the higher one is newer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flotilla_common.contracts.device_tokens import LIFETIME_SECONDS, DeviceToken
from flotilla_common.contracts.hosts import HostRecord


class GoodToken:
    """One host's token. `until` is Unix time."""

    __slots__ = ("host_id", "orbit_key_hash", "revision", "token_hash", "until")

    def __init__(self, token: DeviceToken) -> None:
        self.host_id = token.host_id
        self.token_hash = bytes.fromhex(token.token_hash)
        self.orbit_key_hash = bytes.fromhex(token.orbit_key_hash)
        self.revision = token.revision
        self.until = token.set_at.timestamp() + LIFETIME_SECONDS


class DeviceTokens:
    """Hash of a token -> its host. `silence`: seconds for which news of tokens may have been missed."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._by_hash: dict[bytes, GoodToken] = {}
        self._by_host: dict[int, GoodToken] = {}
        self.silence: Callable[[], float] = lambda: 0.0

    def __len__(self) -> int:
        return len(self._by_hash)

    def put(self, token: DeviceToken) -> None:
        """Take a host's token, unless a newer one is here. The one before is dead from now on."""
        known = self._by_host.get(token.host_id)
        if known is not None and known.revision >= token.revision:
            return
        if known is not None:
            self.drop(known)
        good = GoodToken(token)
        if good.until <= self._clock():
            return
        self._by_host[good.host_id] = good
        holder = self._by_hash.get(good.token_hash)  # another host that had the same token, and is gone
        if holder is None or holder.revision < good.revision:
            self._by_hash[good.token_hash] = good

    def heed(self, record: HostRecord) -> None:
        """Take a host's record: a token that was set before it, by an orbit key that the host has no more, is dead."""
        known = self._by_host.get(record.host_id)
        if known is None or known.revision > record.revision:
            return
        if known.orbit_key_hash.hex() != record.orbit_key_hash:
            self.drop(known)

    def find(self, token_hash: bytes) -> GoodToken | None:
        """Return what is known of a token that is good now."""
        good = self._by_hash.get(token_hash)
        return good if good is not None and good.until > self._clock() else None

    def drop(self, good: GoodToken) -> None:
        """Forget a token."""
        if self._by_hash.get(good.token_hash) is good:
            del self._by_hash[good.token_hash]
        if self._by_host.get(good.host_id) is good:
            del self._by_host[good.host_id]

    def forget_all(self) -> None:
        """Forget every token."""
        self._by_hash.clear()
        self._by_host.clear()

    def sweep(self) -> None:
        """Forget what has expired; called now and then."""
        now = self._clock()
        for good in [good for good in self._by_host.values() if good.until <= now]:
            self.drop(good)

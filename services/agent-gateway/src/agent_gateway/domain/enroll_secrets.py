"""What this process has learned about enroll secrets from inventory's answers: no secret is held, only keyed hashes."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from flotilla_common.contracts.hosts import BadEnrollSecret
from pydantic import SecretStr

PROVEN_LIMIT = 4096
BAD_LIMIT = 10_000
BAD_SECONDS = 0.5  # a secret that inventory does not know is asked about again after this, as a key is


class EnrollSecrets:
    """Which secrets let a host in lately, and which of them inventory did not know a moment ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pepper = secrets.token_bytes(16)
        self._proven: dict[bytes, None] = {}
        self._bad: dict[bytes, float] = {}  # -> until

    def name_of(self, secret: SecretStr) -> bytes:
        """Return what a secret is called in here."""
        text = secret.get_secret_value().encode(errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=16, key=self._pepper).digest()

    def is_proven(self, name: bytes) -> bool:
        """Whether the secret has let a host in, and was not refused since."""
        return name in self._proven

    def check(self, name: bytes) -> None:
        """Refuse what was refused a moment ago.

        Raises:
            BadEnrollSecret: inventory does not know this secret.

        """
        if self._bad.get(name, 0.0) > self._clock():
            raise BadEnrollSecret

    def let_in(self, name: bytes) -> None:
        """Note that inventory let a host in by this secret."""
        self._bad.pop(name, None)
        if name not in self._proven:
            if len(self._proven) >= PROVEN_LIMIT:
                del self._proven[next(iter(self._proven))]
            self._proven[name] = None

    def refused(self, name: bytes, error: BadEnrollSecret) -> None:
        """Note that inventory refused this secret. A used up or expired one, or a wrong network, is looked at again."""
        self._proven.pop(name, None)
        if error.code != BadEnrollSecret.code:
            return
        if len(self._bad) >= BAD_LIMIT:
            self._bad.clear()
        self._bad[name] = self._clock() + BAD_SECONDS

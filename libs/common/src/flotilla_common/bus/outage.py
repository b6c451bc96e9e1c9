"""Which exceptions mean "something is down": the message or request is innocent, wait and repeat."""

from __future__ import annotations

import nats.errors
import nats.js.errors

from flotilla_common.errors import Unavailable

_kinds: list[type[BaseException]] = [
    Unavailable,
    OSError,
    TimeoutError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.NoRespondersError,
    nats.errors.NoServersError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.StaleConnectionError,
    nats.errors.TimeoutError,
    nats.js.errors.NoStreamResponseError,
    nats.js.errors.ServerError,  # 500: storage that fails, a cluster without a leader
    nats.js.errors.ServiceUnavailableError,
]


def register(*kinds: type[BaseException]) -> None:
    """Add a client library's connection errors; called by the module that imports the library."""
    _kinds.extend(kind for kind in kinds if kind not in _kinds)


def kinds(*others: type[BaseException]) -> tuple[type[BaseException], ...]:
    """Return all kinds, and the caller's own, for an `except` clause."""
    return (*_kinds, *others)

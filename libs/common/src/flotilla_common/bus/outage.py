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


_contentions: list[type[BaseException]] = []


def register_contention(*kinds: type[BaseException]) -> None:
    """Add errors that mean "somebody else holds this very thing": a part works, others are served by it."""
    _contentions.extend(kind for kind in kinds if kind not in _contentions)


def is_contention(error: BaseException) -> bool:
    """Whether an error, or the one of the driver that SQLAlchemy keeps in `orig`, is about one thing alone."""
    return isinstance(error, tuple(_contentions)) or isinstance(getattr(error, "orig", None), tuple(_contentions))


def kinds(*others: type[BaseException]) -> tuple[type[BaseException], ...]:
    """Return all kinds, and the caller's own, for an `except` clause."""
    return (*_kinds, *others)

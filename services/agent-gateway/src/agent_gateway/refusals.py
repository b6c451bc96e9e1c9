"""How a failure is said to a host, in osquery's dialect.

osqueryd looks at the status only for redirects. A body without `error`, even an empty one, is a success: it deletes
its buffered logs, or takes the body for its new config. Only `node_invalid: true` makes it enroll again.
Source: osquery 5.16, osquery/remote/utility.h, TLSRequestHelper::go.
"""

from __future__ import annotations

import msgspec
from flotilla_common.contracts.hosts import BadEnrollSecret, IdentityHeld
from flotilla_common.errors import FleetError, Invalid
from flotilla_common.http.errors import status_of

from agent_gateway.asgi import CLOSE, Headers
from agent_gateway.errors import (
    BodyTooSlow,
    Malformed,
    MissingNodeKey,
    NeverEnding,
    NodeKeysDiffer,
    TooLarge,
    UnknownLogType,
    UnknownNodeKey,
)

NODE_INVALID = (MissingNodeKey, UnknownNodeKey, BadEnrollSecret, IdentityHeld)
STATUSES: tuple[tuple[tuple[type[FleetError], ...], int], ...] = (
    ((*NODE_INVALID, NodeKeysDiffer), 401),
    ((TooLarge,), 413),
    ((BodyTooSlow,), 408),
    ((Malformed, UnknownLogType), 400),
)
CLOSES = (BodyTooSlow, NeverEnding)
LAST_RESORT = b'{"error":"internal"}'


def error_body(error: FleetError) -> bytes:
    """Return the answer's body. Why an input is wrong is told, what is wrong inside is not."""
    body: dict[str, object] = {"error": error.code}
    if isinstance(error, Invalid) and str(error) != error.code:
        body["reason"] = str(error)[:200]
    if isinstance(error, NODE_INVALID):
        body["node_invalid"] = True
    return msgspec.json.encode(body)


def error_status(error: FleetError) -> int:
    """Return the status, for people who read logs: osqueryd does not look at it."""
    return next((status for kinds, status in STATUSES if isinstance(error, kinds)), status_of(error))


def error_headers(error: FleetError) -> Headers:
    """Return what the answer's headers have beside length and type."""
    return [CLOSE] if isinstance(error, CLOSES) else []

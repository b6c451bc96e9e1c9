"""How a failure is said: to osqueryd in its dialect, to orbit and the desktop in Fleet's.

osqueryd looks at the status only for redirects. A body without `error`, even an empty one, is a success: it deletes
its buffered logs, or takes the body for its new config. Only `node_invalid: true` makes it enroll again.
Source: osquery 5.16, osquery/remote/utility.h, TLSRequestHelper::go.

Orbit obeys the status: 401 makes it enroll again, so it is said on the same proof as `node_invalid`; 404 on its enroll
makes it give up. It shows `message` and `errors` to people. `error` is there all the same: no failure of this door may
be taken for a success by anybody. Source: Fleet 4.70, server/service/orbit_client.go, base_client.go.
"""

from __future__ import annotations

import msgspec
from flotilla_common.contracts.hosts import BadEnrollSecret, IdentityHeld
from flotilla_common.errors import Conflict, FleetError, Invalid
from flotilla_common.http.errors import status_of

from agent_gateway.domain.surfaces import CLOSE, Headers, Surface
from agent_gateway.errors import (
    BadDeviceToken,
    BodyTooSlow,
    Malformed,
    MalformedDeviceToken,
    MissingNodeKey,
    MissingOrbitNodeKey,
    NeverEnding,
    NodeKeysDiffer,
    TooLarge,
    TooMuch,
    UnknownLogType,
    UnknownNodeKey,
    UnknownOrbitNodeKey,
)

NODE_INVALID = (MissingNodeKey, UnknownNodeKey, BadEnrollSecret, IdentityHeld)
NOT_LET_IN = (*NODE_INVALID, NodeKeysDiffer, MissingOrbitNodeKey, UnknownOrbitNodeKey, BadDeviceToken)
STATUSES: tuple[tuple[tuple[type[FleetError], ...], int], ...] = (
    (NOT_LET_IN, 401),
    ((TooLarge,), 413),
    ((BodyTooSlow,), 408),
    ((TooMuch,), 429),
    ((Malformed, UnknownLogType, MalformedDeviceToken), 400),
)
ASK_AGAIN = b"error: unavailable\n"  # no JSON: the carver does not notice `error`, and repeats what it cannot read
CLOSES = (BodyTooSlow, NeverEnding)
LAST_RESORT = b'{"error":"internal"}'


def error_body(error: FleetError, surface: Surface = Surface.OSQUERY) -> bytes:
    """Return the answer's body. Why an input is wrong is told, what is wrong inside is not."""
    if surface is not Surface.OSQUERY:
        return _in_fleets_words(error)
    body: dict[str, object] = {"error": error.code}
    if isinstance(error, Invalid | Conflict) and str(error) != error.code:
        body["reason"] = str(error)[:200]
    if isinstance(error, NODE_INVALID):
        body["node_invalid"] = True
    return msgspec.json.encode(body)


def refusal_body(code: str, surface: Surface) -> bytes:
    """Return the body of a refusal that is no error of ours: of paths, methods, parameters."""
    if surface is Surface.OSQUERY:
        return msgspec.json.encode({"error": code})
    return _fleets_body(code, code.replace("_", " "), code)


def _in_fleets_words(error: FleetError) -> bytes:
    if isinstance(error, BadEnrollSecret):
        return _fleets_body("Authentication failed", "Authentication failed", error.code)
    if isinstance(error, NOT_LET_IN):
        return _fleets_body("Authentication required", "Authentication required", error.code)
    reason = str(error)[:200] if isinstance(error, Invalid) else error.code.replace("_", " ")
    return _fleets_body("Bad request" if isinstance(error, Invalid) else error.code, reason, error.code)


def _fleets_body(message: str, reason: str, code: str) -> bytes:
    return msgspec.json.encode({"message": message, "errors": [{"name": "base", "reason": reason}], "error": code})


def error_status(error: FleetError) -> int:
    """Return the status, for people who read logs: osqueryd does not look at it."""
    return next((status for kinds, status in STATUSES if isinstance(error, kinds)), status_of(error))


def error_headers(error: FleetError) -> Headers:
    """Return what the answer's headers have beside length and type."""
    return [CLOSE] if isinstance(error, CLOSES) else []

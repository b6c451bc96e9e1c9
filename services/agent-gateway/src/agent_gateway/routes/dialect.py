"""Say every failure in osquery's dialect.

osqueryd looks at the status only for redirects. A body without `error`, even an empty one, is a success: it deletes
its buffered logs, or takes the body for its new config. Only `node_invalid: true` makes it enroll again.
Source: osquery 5.16, osquery/remote/utility.h, TLSRequestHelper::go.
"""

from __future__ import annotations

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from flotilla_common.contracts.hosts import BadEnrollSecret
from flotilla_common.errors import FleetError, Invalid
from flotilla_common.http.errors import status_of
from starlette.exceptions import HTTPException

from agent_gateway.deps import deps_of
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

JSON = "application/json"
NODE_INVALID = (MissingNodeKey, UnknownNodeKey, BadEnrollSecret)
STATUSES: tuple[tuple[tuple[type[FleetError], ...], int], ...] = (
    ((*NODE_INVALID, NodeKeysDiffer), 401),
    ((TooLarge,), 413),
    ((BodyTooSlow,), 408),
    ((Malformed, UnknownLogType), 400),
)
FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 422: "invalid_request"}
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


async def answer_fleet_error(request: Request, error: Exception) -> Response:
    """Answer an expected failure."""
    if not isinstance(error, FleetError):
        raise error
    _count(request, error.code)
    headers = {"connection": "close"} if isinstance(error, CLOSES) else None
    return Response(error_body(error), error_status(error), headers=headers, media_type=JSON)


async def answer_framework_error(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses: paths, methods, parameters."""
    status = error.status_code if isinstance(error, HTTPException) else 422
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    code = FRAMEWORK_CODES.get(status, f"http_{status}")
    _count(request, code)
    return Response(msgspec.json.encode({"error": code}), status, headers=headers, media_type=JSON)


async def answer_bug(request: Request, _error: Exception) -> Response:
    """Answer what nobody expected; the door logs it."""
    _count(request, "internal")
    return Response(LAST_RESORT, 500, media_type=JSON)


def speak(app: FastAPI) -> None:
    """Teach an application the dialect."""
    app.add_exception_handler(FleetError, answer_fleet_error)
    app.add_exception_handler(HTTPException, answer_framework_error)
    app.add_exception_handler(RequestValidationError, answer_framework_error)
    app.add_exception_handler(Exception, answer_bug)


def _count(request: Request, code: str) -> None:
    deps_of(request).gateway.counters.failures[code] += 1

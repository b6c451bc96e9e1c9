"""What people get: pretty JSON, and one shape for every failure (REST API reference of Fleet 4.70, errors).

`{"message", "errors": [{"name", "reason"}], "error", "uuid"}`; the uuid is also in the log line of an unexpected
failure. `error` is not in Fleet: a host with a misspelt path ends here, and osqueryd takes any answer without it for a
success, after which it deletes its logs (osquery 5.16, osquery/remote/utility.h, TLSRequestHelper::go).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import uuid4

import sqlalchemy.exc
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from flotilla_common.bus import outage
from flotilla_common.errors import Conflict, Denied, FleetError, Invalid, NotFound, Unavailable
from flotilla_common.http.errors import status_of
from pydantic import PlainSerializer
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

from admin_api.errors import (
    AlreadyExists,
    BadRequest,
    Forbidden,
    InvalidArgument,
    LimitExceeded,
    LiveQueriesOff,
    Missing,
    NumberedError,
    PermissionDenied,
    StrictBodyError,
    Unauthenticated,
    UndecodableBody,
)
from admin_api.routes.downloads import BrokenOff, streamed
from admin_api.routes.pretty import pretty_parts

log = structlog.get_logger()

CONTENT_TYPE = "application/json; charset=utf-8"
NEVER = datetime(1, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
EXPECTED_BODY = "Expected JSON Body"
DECODER_ERROR = "json decoder error"
MOST_MEMBERS = 10  # that one answer names
LONGEST_NAME = 200  # characters: names can be the sender's


def rfc3339(value: datetime) -> str:
    """Return a time in UTC with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.year > 1 else "0001-01-01T00:00:00Z"


Time = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
"""A time in an answer. Where it never happened: NEVER, or LONG_AGO for some times of hosts."""


class PrettyJSON(JSONResponse):
    """Two spaces, a newline at the end, the charset said."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Say the content type that existing clients know."""
        super().init_headers({**(headers or {}), "content-type": CONTENT_TYPE})

    def render(self, content: Any) -> bytes:
        """Write times as RFC 3339, too, for answers that no model describes."""
        return (json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n").encode()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


async def streamed_json(document: Any) -> Response:
    """Return an answer that is written while it is sent; `pretty_parts` says what may be in it."""
    return await streamed(pretty_parts(document, _plain), CONTENT_TYPE)


def failure(
    status: int,
    message: str,
    reasons: Iterable[tuple[str, str]] = (),
    *,
    headers: Mapping[str, str] | None = None,
    **extra: object,
) -> PrettyJSON:
    """Return the envelope."""
    errors = [{"name": name, "reason": reason} for name, reason in reasons]
    body: dict[str, object] = {"message": message, **({"errors": errors} if errors else {}), **extra}
    body["error"] = HTTPStatus(status).phrase.lower().replace(" ", "_")
    return PrettyJSON({**body, "uuid": str(uuid4())}, status, headers=dict(headers or {}))


MESSAGES: tuple[tuple[type[FleetError], int | None, str], ...] = (
    (Unauthenticated, 401, ""),
    (UndecodableBody, 400, ""),
    (StrictBodyError, 400, "Bad Request"),
    (BadRequest, 400, "Bad request"),
    (Missing, None, "Resource Not Found"),
    (AlreadyExists, None, "Resource Already Exists"),
    (Forbidden, None, "forbidden"),
    (LiveQueriesOff, None, "Permission Denied"),
    (Denied, None, "forbidden"),
    (NotFound, None, "Resource Not Found"),
    (Conflict, None, "Conflict"),
    (Invalid, None, "Validation Failed"),
    (Unavailable, None, "Service Unavailable"),
)
"""Kind -> (status, None: the kind's usual; message, empty: the error's text). The reason, under `base`, is the text."""


def answer_for(error: FleetError) -> PrettyJSON:
    """Return the envelope of an expected failure."""
    match error:
        case InvalidArgument():
            return failure(422, "Validation Failed", error.arguments)
        case PermissionDenied():
            return failure(403, str(error))
        case NumberedError():
            return failure(422, str(error), code=error.number)
        case LimitExceeded():
            return failure(429, str(error), headers={"Retry-After": str(error.retry_after_seconds)})
    status, message = _status_and_message(error)
    return failure(status, message or str(error), [("base", str(error))])


def _status_and_message(error: FleetError) -> tuple[int, str]:
    for kind, status, message in MESSAGES:
        if isinstance(error, kind):
            return status or status_of(error), message
    return status_of(error), ""


async def _on_fleet_error(_: Request, error: Exception) -> PrettyJSON:
    assert isinstance(error, FleetError)  # noqa: S101 - registered for this class
    return answer_for(error)


async def _on_validation(_: Request, error: Exception) -> PrettyJSON:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    first = error.errors()[0]
    where, name = str(first["loc"][0]), str(first["loc"][-1])
    if where == "body":
        message = EXPECTED_BODY if first["type"] == "missing" and first["loc"] == ("body",) else DECODER_ERROR
        return failure(400, message, [("base", message), *_members(error)])
    if where == "path" and isinstance(first.get("input"), int):
        return failure(404, "Resource Not Found", [("base", f"{first['input']} was not found in the datastore")])
    return failure(400, "Bad request", [("base", f"{name}: {first['msg']}")])


def _members(error: RequestValidationError) -> list[tuple[str, str]]:
    """Return which members of a body are wrong, and why: clients that know `json decoder error` find it before them."""
    wrong = [one for one in error.errors() if len(one["loc"]) > 1 and one["type"] != "json_invalid"]
    return [(".".join(str(part) for part in one["loc"][1:])[:LONGEST_NAME], one["msg"]) for one in wrong[:MOST_MEMBERS]]


async def _on_http_error(request: Request, error: Exception) -> PrettyJSON:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    if error.status_code == 400 and request.url.path.startswith("/api"):
        return failure(400, DECODER_ERROR, [("base", DECODER_ERROR)])
    return failure(error.status_code, error.detail, [("base", error.detail)], headers=error.headers)


async def _on_database_error(_: Request, error: Exception) -> PrettyJSON:
    if isinstance(error, sqlalchemy.exc.IntegrityError):
        return failure(409, "Validation Failed", [("base", "the database refused a duplicate or a dangling reference")])
    if isinstance(error, sqlalchemy.exc.DataError):
        return failure(422, "Validation Failed", [("base", "a value cannot be stored")])
    return await _on_anything(_, error)


async def _on_vanished(_: Request, error: Exception) -> PrettyJSON:
    log.info("what was to be changed has been removed meanwhile", error=repr(error))
    return failure(404, "Resource Not Found", [("base", "it has been removed meanwhile")])


async def _on_anything(request: Request, error: Exception) -> PrettyJSON:
    if isinstance(error, BrokenOff):
        return failure(503, "Service Unavailable")  # nobody gets it: the answer had begun
    if isinstance(error, outage.kinds()):
        log.warning("a server is down", path=request.url.path, error=repr(error))
        return failure(503, "Service Unavailable", [("base", "a part that is needed does not answer now")])
    answer = failure(500, "Internal Server Error", [("base", "internal error; the log has more under this uuid")])
    log.exception("unexpected failure", path=request.url.path, uuid=json.loads(bytes(answer.body))["uuid"])
    return answer


def install(app: FastAPI) -> None:
    """Answer every failure of the application in the envelope."""
    app.add_exception_handler(FleetError, _on_fleet_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(sqlalchemy.exc.DBAPIError, _on_database_error)
    app.add_exception_handler(StaleDataError, _on_vanished)
    app.add_exception_handler(Exception, _on_anything)

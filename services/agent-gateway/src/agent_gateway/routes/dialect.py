"""Say every failure of the ordinary routes in the dialect of who asks, the framework's own too."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from flotilla_common.errors import FleetError, Unavailable
from starlette.exceptions import HTTPException

from agent_gateway.asgi import JSON
from agent_gateway.deps import deps_of
from agent_gateway.domain.surfaces import surface_of
from agent_gateway.last_resort import CARVE_BLOCK
from agent_gateway.refusals import ASK_AGAIN, LAST_RESORT, error_body, error_headers, error_status, refusal_body

FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 422: "invalid_request"}


async def answer_fleet_error(request: Request, error: Exception) -> Response:
    """Answer an expected failure."""
    if not isinstance(error, FleetError):
        raise error
    _count(request, error.code)
    deps_of(request).guard.failed(request.scope, error)
    if isinstance(error, Unavailable) and _is_block(request):
        return _ask_again(error_status(error))
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return Response(
        error_body(error, surface_of(request.scope["path"])), error_status(error), headers=headers, media_type=JSON
    )


async def answer_framework_error(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses: paths, methods, parameters."""
    status = error.status_code if isinstance(error, HTTPException) else 422
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    code = FRAMEWORK_CODES.get(status, f"http_{status}")
    _count(request, code)
    return Response(refusal_body(code, surface_of(request.scope["path"])), status, headers=headers, media_type=JSON)


async def answer_bug(request: Request, _error: Exception) -> Response:
    """Answer what nobody expected; the door logs it. A block is not lost by it: its carver sends it again."""
    _count(request, "internal")
    return _ask_again(500) if _is_block(request) else Response(LAST_RESORT, 500, media_type=JSON)


def speak(app: FastAPI) -> None:
    """Teach an application the dialect."""
    app.add_exception_handler(FleetError, answer_fleet_error)
    app.add_exception_handler(HTTPException, answer_framework_error)
    app.add_exception_handler(RequestValidationError, answer_framework_error)
    app.add_exception_handler(Exception, answer_bug)


def _count(request: Request, code: str) -> None:
    deps_of(request).gateway.counters.failures[code] += 1


def _is_block(request: Request) -> bool:
    path: str = request.scope["path"]
    return path.endswith(CARVE_BLOCK)


def _ask_again(status: int) -> Response:
    return Response(ASK_AGAIN, status, media_type="text/plain")

"""Put the parts together: the reporter's tasks, the collector's application."""

from __future__ import annotations

import asyncio

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from flotilla_common.bus import outage
from flotilla_common.bus.answering import respond
from flotilla_common.bus.connection import Bus
from starlette.exceptions import HTTPException

from analytics.consumers.answer_report_now import RESPONDER
from analytics.consumers.report_daily import report_daily
from analytics.deps import CollectorDeps, ReporterDeps
from analytics.routes import reports

log = structlog.get_logger()


async def start_reporter(tasks: asyncio.TaskGroup, bus: Bus, deps: ReporterDeps) -> None:
    """Start the reporter's work; return when it can be asked."""
    ready = asyncio.Event()
    tasks.create_task(respond(bus, RESPONDER, deps, ready=ready), name="answer report now")
    tasks.create_task(report_daily(deps), name="report daily")
    await ready.wait()


def create_collector(deps: CollectorDeps) -> FastAPI:
    """Return the collector's application."""
    app = FastAPI(title="Flotilla usage statistics collector", openapi_url=None)
    app.state.deps = deps
    app.include_router(reports.router)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_failure)
    for kind in outage.kinds():
        if issubclass(kind, Exception):
            app.add_exception_handler(kind, _answer_outage)
    return app


async def _answer_http(_: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": str(getattr(error, "detail", error))}, status)


async def _answer_outage(_: Request, error: Exception) -> JSONResponse:
    log.warning("a part is down", error=repr(error))
    return JSONResponse({"error": "unavailable"}, 503)


async def _answer_failure(_: Request, error: Exception) -> JSONResponse:
    log.error("request failed", error=repr(error))
    return JSONResponse({"error": "internal error"}, 500)

"""POST /api/v1/reports: take a usage report, once."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from analytics import metrics
from analytics.deps import CollectorDeps
from analytics.domain.usage_report import UsageReport
from analytics.errors import ReportTooLarge
from analytics.store import received_reports

LARGEST_BYTES = 256 * 1024

router = APIRouter()


@router.post("/api/v1/reports")
async def receive(request: Request) -> JSONResponse:
    """Keep a report. The same report again is accepted and kept once."""
    deps: CollectorDeps = request.app.state.deps
    try:
        report = UsageReport.model_validate_json(await _body(request))
    except ReportTooLarge:
        return _refuse(413, f"a report has at most {LARGEST_BYTES} bytes")
    except ValidationError as error:
        return _refuse(422, _explain(error))
    async with deps.sessions.begin() as session:
        fresh = await received_reports.add(
            session, report.report_id, report.anonymous_identifier, report.model_dump(mode="json")
        )
    metrics.RECEIVED.labels("stored" if fresh else "repeated").inc()
    return JSONResponse({"accepted": True, "repeated": not fresh})


async def _body(request: Request) -> bytes:
    """Read the body, but no more than is allowed."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BYTES:
            raise ReportTooLarge
    return bytes(body)


def _refuse(status: int, reason: str) -> JSONResponse:
    metrics.RECEIVED.labels("refused").inc()
    return JSONResponse({"error": reason}, status)


def _explain(error: ValidationError) -> str:
    """Name the first wrong members, without what they held."""
    found = error.errors(include_input=False, include_url=False, include_context=False)[:5]
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in found)

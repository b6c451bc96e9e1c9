"""POST /trigger: start a job by name (admin API part 21). The only one so far is analytics' usage report."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from flotilla_common.contracts.analytics import ReportNowV1

from admin_api.deps import DepsDep
from admin_api.domain.authorize import Action, authorize
from admin_api.errors import Missing
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.versions import members_router

router = members_router("trigger")

USAGE_STATISTICS = "usage_statistics"


@router.post("/trigger")
async def trigger(deps: DepsDep, viewer: ViewerDep, name: Annotated[str, Query()] = "") -> dict[str, Any]:
    """Run `usage_statistics`: build the usage report now, send it if there is a collector, and show it."""
    authorize(viewer, Action.RUN_JOBS)
    if name != USAGE_STATISTICS:
        raise Missing("Job", name[:64])
    answer = await deps.bus.request(ReportNowV1())
    return {"outcome": answer.outcome, "error": answer.error, "report": answer.report}

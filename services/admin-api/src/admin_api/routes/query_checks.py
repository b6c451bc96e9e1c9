"""What a live query would touch, and whether the caller may run it, without running it (not in Fleet)."""

from __future__ import annotations

from typing import Any

from admin_api.deps import DepsDep
from admin_api.domain import campaigns
from admin_api.domain.sql_policy import Cleared
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.host_parameters import Number
from admin_api.routes.versions import members_router

router = members_router("live queries")


class CheckBody(ApiBody):
    """SQL, or a saved query."""

    query: str = ""
    query_id: Number | None = None


@router.post("/queries/check")
async def check_query(deps: DepsDep, viewer: ViewerDep, body: CheckBody) -> dict[str, Any]:
    """Say what a query touches, what to mind, and what the live query policy says to the caller's roles."""
    await campaigns.read_beforehand(viewer, body.query, deps.sql_reader)
    async with deps.sessions.begin() as session:
        asked = await campaigns.either(session, viewer, body.query_id, body.query, deps.clock())
        found = await campaigns.held(session, viewer, asked, deps.sql_reader)
        await session.rollback()  # new SQL is not kept
    return {"check": check_object(found)}


def check_object(found: Cleared) -> dict[str, Any]:
    """Return what a query was found to do; a refusal without a team is of the caller's global role."""
    return {
        "allowed": found.teams is None or bool(found.teams),
        "refusals": [
            {"team_id": refusal.team_id, "role": refusal.role, "reason": refusal.reason} for refusal in found.refusals
        ],
        "warnings": list(found.warnings),
        "tables": list(found.facts.tables),
        "columns": list(found.facts.columns),
        "functions": list(found.facts.functions),
        "unreadable": found.facts.unreadable,
    }

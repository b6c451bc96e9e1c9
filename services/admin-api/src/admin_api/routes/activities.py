"""GET /activities: who did what."""

from __future__ import annotations

from typing import Any

from flotilla_common.db.models.admin_api import Activity
from pydantic import BaseModel, Field

from admin_api.deps import DepsDep
from admin_api.domain.authorize import Action, authorize
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.envelope import Time
from admin_api.routes.list_options import ListOptionsDep, Meta, meta_of
from admin_api.routes.versions import members_router
from admin_api.store import activities

router = members_router("activities")


def _is_none(value: object) -> bool:
    return value is None


class ActivityBody(BaseModel):
    """One activity; who did it is left out where nobody is named."""

    id: int
    created_at: Time
    actor_full_name: str | None = Field(exclude_if=_is_none)
    actor_id: int | None = Field(exclude_if=_is_none)
    actor_gravatar: str | None = Field(exclude_if=_is_none)
    actor_email: str | None = Field(exclude_if=_is_none)
    type: str
    details: dict[str, Any] | None
    fleet_initiated: bool


class ActivityList(BaseModel):
    """A page of activities."""

    activities: list[ActivityBody]
    meta: Meta | None


@router.get("/activities")
async def list_activities(deps: DepsDep, viewer: ViewerDep, options: ListOptionsDep) -> ActivityList:
    """List activities, oldest first unless ordered otherwise."""
    authorize(viewer, Action.READ_ACTIVITIES)
    async with deps.sessions.begin() as session:
        rows, more = await activities.page(session, options)
    meta = None if options.after else meta_of(options, more=more)
    return ActivityList(activities=[_body(row) for row in rows], meta=meta)


def _body(row: Activity) -> ActivityBody:
    return ActivityBody(
        id=row.id or 0,
        created_at=row.created_at,
        actor_full_name=row.actor_full_name,
        actor_id=row.actor_id,
        actor_gravatar=None if row.actor_full_name is None else "",
        actor_email=row.actor_email,
        type=row.type,
        details=row.details,
        fleet_initiated=row.fleet_initiated,
    )

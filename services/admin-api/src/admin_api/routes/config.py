"""The app config (admin API part 5)."""

from __future__ import annotations

from typing import Any

from admin_api.deps import DepsDep
from admin_api.domain import app_config, config_fixed
from admin_api.domain.app_config import PatchOptions
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.json_types import check_depth
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import RawObject
from admin_api.routes.versions import Flag, members_router
from admin_api.store import app_config as stored

router = members_router("config")


@router.get("/config")
async def get_config(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Show the config; what is for admins alone is null for others."""
    authorize(viewer, Action.READ_APP_CONFIG)
    async with deps.sessions.begin() as session:
        row = await stored.get(session)
    return app_config.shown_to(viewer, row) | config_fixed.server_only()


@router.patch("/config")
async def patch_config(
    deps: DepsDep,
    viewer: ViewerDep,
    patch: RawObject,
    force: Flag = False,
    dry_run: Flag = False,
    overwrite: Flag = False,
) -> dict[str, Any]:
    """Merge a patch into the config; all that GET answers is accepted back."""
    authorize(viewer, Action.WRITE_APP_CONFIG)
    check_depth(patch)
    async with deps.sessions.begin() as session:
        row = await app_config.change(session, viewer, patch, PatchOptions(force, dry_run, overwrite))
        return app_config.shown_to(viewer, row)

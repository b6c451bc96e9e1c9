"""GET /version: what runs here."""

from __future__ import annotations

import platform

from pydantic import BaseModel

from admin_api.domain.authorize import Action, authorize
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.versions import members_router

router = members_router("version")

SPOKEN_VERSION = "4.70.0"  # the release of Fleet whose API is spoken; its CLI compares this with its own


class VersionBody(BaseModel):
    """The keys that clients know; `go_version` names the language's version, whichever it is."""

    version: str
    branch: str
    revision: str
    go_version: str
    build_date: str
    build_user: str


@router.get("/version")
async def version(viewer: ViewerDep) -> VersionBody:
    """Tell the version; clients use this as their first authenticated call."""
    authorize(viewer, Action.READ_VERSION)
    return VersionBody(
        version=SPOKEN_VERSION,
        branch="",
        revision="",
        go_version=f"python{platform.python_version()}",
        build_date="",
        build_user="",
    )

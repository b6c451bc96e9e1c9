"""Label specs, as the command line applies and prints them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from flotilla_common.contracts.hosts import ChangeLabelMembersV1
from flotilla_common.db.models.admin_api import Label
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import Deps, DepsDep
from admin_api.domain import labels, labels_members, labels_spec
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.labels_members import WantedMembers
from admin_api.domain.labels_spec import LabelSpec
from admin_api.domain.viewer import Viewer
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.versions import Flag, members_router
from admin_api.store import labels as label_store

router = members_router("labels")


class SpecBody(ApiBody):
    """One label."""

    name: str = ""
    description: str = ""
    query: str = ""
    platform: str = ""
    label_type: str = "regular"
    label_membership_type: str = ""
    hosts: list[str] | None = None

    def spec(self) -> LabelSpec:
        """Return what the domain knows."""
        return LabelSpec(
            self.name,
            self.description,
            self.query,
            self.platform,
            self.label_type,
            self.label_membership_type,
            self.hosts,
        )


class SpecsBody(ApiBody):
    """Any number of labels; all are applied or none."""

    specs: list[SpecBody] = Field(default_factory=list)


@router.post("/spec/labels")
async def apply_label_specs(deps: DepsDep, viewer: ViewerDep, body: SpecsBody, dry_run: Flag = False) -> dict[str, Any]:
    """Create or change labels by name; then set the members of the manual ones. A dry run only says what is wrong."""
    authorize(viewer, Action.WRITE_LABELS)
    async with deps.sessions.begin() as session:
        members = [request for entry in body.specs async for request in _apply(deps, session, viewer, entry)]
        if dry_run:
            await session.rollback()
    for request in () if dry_run else members:
        await deps.bus.request(request)  # applying the same specs again repeats it, should this one fail
    return {}


async def _apply(
    deps: Deps, session: AsyncSession, viewer: Viewer, entry: SpecBody
) -> AsyncIterator[ChangeLabelMembersV1]:
    """Apply one spec; yield the request that its members take, if there is one."""
    label = await labels_spec.apply(session, viewer, entry.spec(), now=deps.clock())
    if entry.hosts is not None and label.label_type != labels.BUILTIN:
        wanted = WantedMembers(names=entry.hosts)
        yield await labels_members.replacement(session, viewer, label.id or 0, wanted)


async def _spec(session: AsyncSession, viewer: Viewer, label: Label) -> dict[str, Any]:
    if label.label_membership_type != labels.MANUAL or label.label_type == labels.BUILTIN:
        return labels_spec.spec_object(label, None)
    names = await label_store.host_names(session, label.id or 0, labels_members.listed_teams(viewer))
    return labels_spec.spec_object(label, names)


@router.get("/spec/labels")
async def get_label_specs(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Print all labels, the built-in ones too."""
    authorize(viewer, Action.READ_LABELS)
    async with deps.sessions.begin() as session:
        return {"specs": [await _spec(session, viewer, label) for label in await label_store.every(session)]}


@router.get("/spec/labels/{name:path}")
async def get_label_spec(deps: DepsDep, viewer: ViewerDep, name: str) -> dict[str, Any]:
    """Print one label; it stands under the plural key."""
    authorize(viewer, Action.READ_LABELS)
    async with deps.sessions.begin() as session:
        return {"specs": await _spec(session, viewer, await labels.find_by_name(session, name))}

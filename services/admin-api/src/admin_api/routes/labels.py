"""Labels (admin API part 10). Members of manual labels are inventory's: they are changed by request to it."""

from __future__ import annotations

from typing import Any

from flotilla_common.contracts.hosts import ChangeLabelMembersV1
from flotilla_common.db.models.admin_api import Label
from flotilla_common.errors import FleetError
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import Deps, DepsDep
from admin_api.domain import hosts, labels, labels_members
from admin_api.domain.authorize import Action, authorize, visible_team_ids
from admin_api.domain.label_objects import label_object, label_summary
from admin_api.domain.labels_members import WantedMembers
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest, InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.host_parameters import FilterDep, Number, ViewDep, without_search
from admin_api.routes.hosts import shown
from admin_api.routes.list_options import ListOptionsDep
from admin_api.routes.versions import Id, members_router
from admin_api.store import hosts as host_store
from admin_api.store import labels as label_store

router = members_router("labels")


async def label_answer(session: AsyncSession, viewer: Viewer, label: Label) -> dict[str, Any]:
    """Return `{label}` with the count and (manual labels) the members that the viewer may see."""
    teams = visible_team_ids(viewer)
    label_id = label.id or 0
    members = await label_store.host_ids(session, label_id, teams) if label.label_membership_type == "manual" else None
    counts = await label_store.counts(session, [label_id], teams)
    return {"label": label_object(label, count=counts.get(label_id, 0), host_ids=members)}


@router.get("/labels")
async def list_labels(deps: DepsDep, viewer: ViewerDep, options: ListOptionsDep) -> dict[str, Any]:
    """List all labels, each with the number of its hosts that the viewer may see."""
    authorize(viewer, Action.READ_LABELS)
    if options.query or options.after:
        raise BadRequest("labels can be listed without query and after only")
    async with deps.sessions.begin() as session:
        rows = await label_store.page(session, options)
        ids = [label.id for label in rows if label.id is not None]
        counts = await label_store.counts(session, ids, visible_team_ids(viewer))
    return {"labels": [label_object(label, count=counts.get(label.id or 0, 0)) for label in rows]}


@router.get("/labels/summary")
async def summarize_labels(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """List the names of all labels."""
    authorize(viewer, Action.READ_LABELS)
    async with deps.sessions.begin() as session:
        return {"labels": [label_summary(label) for label in await label_store.every(session)]}


@router.get("/labels/{label_id:int}")
async def get_label(deps: DepsDep, viewer: ViewerDep, label_id: Id) -> dict[str, Any]:
    """Show one label."""
    authorize(viewer, Action.READ_LABELS)
    async with deps.sessions.begin() as session:
        return await label_answer(session, viewer, await labels.find(session, label_id))


@router.get("/labels/{label_id:int}/hosts")
async def list_label_hosts(
    deps: DepsDep, viewer: ViewerDep, label_id: Id, options: ListOptionsDep, wanted: FilterDep, view: ViewDep
) -> dict[str, Any]:
    """List a label's hosts that the viewer may see."""
    now = deps.clock()
    async with deps.sessions.begin() as session:
        where = await hosts.conditions(session, viewer, wanted, now)
        await labels.find(session, label_id)
        where.append(host_store.has_any_label([label_id]))
        rows = await host_store.page(session, where, without_search(options), now)
        return {"hosts": await shown(session, rows, view)}


class CreateBody(ApiBody):
    """A dynamic label has a query, a manual one hosts."""

    name: str = ""
    description: str = ""
    query: str = ""
    platform: str = ""
    hosts: list[str] | None = None
    host_ids: list[Number] | None = None


@router.post("/labels")
async def create_label(deps: DepsDep, viewer: ViewerDep, body: CreateBody) -> dict[str, Any]:
    """Make a label."""
    authorize(viewer, Action.WRITE_LABELS)
    wanted = WantedMembers(body.hosts, body.host_ids)
    wanted.check()
    if body.query.strip() and wanted.given:
        raise InvalidArgument("query", "Only one of either query or hosts/host_ids can be included in the request.")
    async with deps.sessions.begin() as session:
        label = await labels.create(
            session, viewer, body.name, description=body.description, query=body.query, platform=body.platform
        )
        members = await labels_members.replacement(session, viewer, label.id or 0, wanted) if wanted.given else None
    await set_first_members(deps, label, members)
    return await _answer_anew(deps, viewer, label.id or 0)


async def set_first_members(deps: Deps, label: Label, members: ChangeLabelMembersV1 | None) -> None:
    """Give a new label its members; when inventory cannot do that now, the label is taken back."""
    if members is None:
        return
    try:
        await deps.bus.request(members)
    except FleetError:
        async with deps.sessions.begin() as session:
            await labels.remove(session, await labels.find(session, label.id or 0))
        raise


async def _answer_anew(deps: Deps, viewer: Viewer, label_id: int) -> dict[str, Any]:
    async with deps.sessions.begin() as session:
        return await label_answer(session, viewer, await labels.find(session, label_id))


class ModifyBody(ApiBody):
    """What can be changed: the words, and the members of a manual label."""

    name: str | None = None
    description: str | None = None
    hosts: list[str] | None = None
    host_ids: list[Number] | None = None


@router.patch("/labels/{label_id:int}")
async def modify_label(deps: DepsDep, viewer: ViewerDep, label_id: Id, body: ModifyBody) -> dict[str, Any]:
    """Change a label."""
    authorize(viewer, Action.WRITE_LABELS)
    wanted = WantedMembers(body.hosts, body.host_ids)
    wanted.check()
    async with deps.sessions.begin() as session:
        label = await labels.find(session, label_id)
        if wanted.given and label.label_membership_type == "dynamic" and label.label_type != "builtin":
            raise InvalidArgument("hosts", "cannot provide a list of hosts for a dynamic label")
        await labels.rename(session, label, body.name, body.description, now=deps.clock())
        if wanted.given:
            await deps.bus.request(await labels_members.replacement(session, viewer, label_id, wanted))
    return await _answer_anew(deps, viewer, label_id)


@router.delete("/labels/id/{label_id:int}")
async def delete_label_by_id(deps: DepsDep, viewer: ViewerDep, label_id: Id) -> dict[str, Any]:
    """Delete a label."""
    authorize(viewer, Action.WRITE_LABELS)
    async with deps.sessions.begin() as session:
        await labels.remove(session, await labels.find(session, label_id))
    return {}


@router.delete("/labels/{name:path}")
async def delete_label(deps: DepsDep, viewer: ViewerDep, name: str) -> dict[str, Any]:
    """Delete a label by its name."""
    authorize(viewer, Action.WRITE_LABELS)
    async with deps.sessions.begin() as session:
        await labels.remove(session, await labels.find_by_name(session, name))
    return {}

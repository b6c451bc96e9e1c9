"""Live queries started for viewers, and whether live queries work at all (admin API 15.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Query
from flotilla_common.contracts.campaigns import (
    Budget,
    CampaignKind,
    CampaignStartedV1,
    PauseCampaignV1,
    StartCampaignV1,
    StopCampaignV1,
)
from flotilla_common.db.models.live_query import Campaign
from flotilla_common.errors import Conflict, Invalid, Unanswered, Unavailable
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.deps import Deps, DepsDep
from admin_api.domain import campaigns, targets
from admin_api.domain.campaign_progress import ramp_data
from admin_api.domain.campaigns import Asked
from admin_api.domain.config_blocks import RoleBudget
from admin_api.domain.sql_policy import Cleared
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest, InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.envelope import rfc3339
from admin_api.routes.host_parameters import Number
from admin_api.routes.list_options import ListOptionsDep, meta_of, paged
from admin_api.routes.targets import SelectedBody
from admin_api.routes.times import time_of
from admin_api.routes.versions import Id, members_router
from admin_api.store import campaign_ledgers, campaign_rows
from admin_api.store import campaigns as campaign_store
from admin_api.store.campaigns import Account
from admin_api.store.targets import Selection

router = members_router("live queries")

WAITING, RUNNING, COMPLETE = 0, 1, 2
ENDED = "the live query has ended"
MAY_RUN = "live-query did not answer in time: the live query may be running all the same"
PAGE = 100  # campaigns on a page, where nobody says
LONGEST_PAGE = 1000


@asynccontextmanager
async def starting(deps: Deps) -> AsyncIterator[AsyncSession]:
    """In turn, a transaction to `start` a campaign in. What live-query may be running stays on record (decision 0006).

    Raises:
        Unanswered: after the commit.
        Unavailable: too many are being started.

    """
    silence: Unanswered | None = None
    async with deps.starts.take(), deps.sessions.begin() as session:
        try:
            yield session
        except Unanswered as error:
            silence = error
    if silence is not None:
        raise silence


async def start(
    deps: Deps, session: AsyncSession, viewer: Viewer, asked: Cleared, request: StartCampaignV1
) -> CampaignStartedV1:
    """Ask live-query to start a campaign, and remember who did; within `starting`.

    Raises:
        BadRequest: live-query refuses it.
        Unanswered: it may have been started, or not; the activity is written, without a count.

    """
    try:
        started = await _ask(deps, request)
    except Invalid as error:
        raise BadRequest(str(error)) from error
    except Unanswered as error:
        await campaigns.record(session, viewer, asked.query, None)
        raise Unanswered(MAY_RUN) from error
    await campaigns.record(session, viewer, asked.query, started.counts.total)
    return started


async def _ask(deps: Deps, request: StartCampaignV1) -> CampaignStartedV1:
    """Ask, and once more when no answer comes: live-query knows the request by its id and starts one campaign.

    That live-query is gone at the second time says nothing of the first.
    """
    try:
        return await deps.bus.request(request)
    except Unanswered:
        try:
            return await deps.bus.request(request)
        except Unavailable as error:
            raise Unanswered(str(error)) from error


def campaign_object(started: CampaignStartedV1, request: StartCampaignV1) -> dict[str, Any]:
    """Return a new campaign; the capitals are part of the API."""
    counts, created = started.counts, rfc3339(started.created_at)
    return {
        "created_at": created,
        "updated_at": created,
        "Metrics": {
            "TotalHosts": counts.total,
            "OnlineHosts": counts.online,
            "OfflineHosts": counts.offline,
            "MissingInActionHosts": counts.missing_in_action,
            "NewHosts": counts.new,
        },
        "id": started.campaign_id,
        "query_id": request.query_id,
        "status": WAITING,
        "user_id": request.user_id,
    }


class BudgetedBody(ApiBody):
    """A body that may say what the live query may cost at most."""

    budget: Annotated[RoleBudget, Field(description="limits; where absent, the default of one's role")] = Field(
        default_factory=RoleBudget
    )

    def limits(self) -> Budget:
        """Return what was asked for."""
        return Budget(**self.budget.model_dump())


class RunBody(BudgetedBody):
    """SQL, or a saved query; a campaign with a deadline waits for its hosts whether anybody watches or not."""

    query: str = ""
    query_id: Number | None = None
    selected: SelectedBody = Field(default_factory=SelectedBody)
    deadline: Annotated[str, Field(description="RFC 3339; makes the campaign durable")] | None = None


@router.post("/queries/run")
async def run_query(deps: DepsDep, viewer: ViewerDep, body: RunBody) -> dict[str, Any]:
    """Start a live query on hosts, labels and teams by id."""
    now = deps.clock()
    await campaigns.read_beforehand(viewer, body.query, deps.sql_reader)
    async with starting(deps) as session:
        asked = await campaigns.either(session, viewer, body.query_id, body.query, now)
        return await _run(deps, session, viewer, asked, body, body.selected.selection())


class NamesBody(ApiBody):
    """Identifiers of hosts (name, uuid, serial ...) and names of labels. Empty texts mean nothing."""

    hosts: list[str] = Field(default_factory=list)
    labels: list[str] = Field(default_factory=list)


class RunByNamesBody(BudgetedBody):
    """SQL, or a saved query, for hosts and labels by name."""

    query: str = ""
    query_id: Number | None = None
    selected: NamesBody = Field(default_factory=NamesBody)
    deadline: Annotated[str, Field(description="RFC 3339; makes the campaign durable")] | None = None


@router.post("/queries/run_by_identifiers")
@router.post("/queries/run_by_names", include_in_schema=False)
async def run_query_by_names(deps: DepsDep, viewer: ViewerDep, body: RunByNamesBody) -> dict[str, Any]:
    """Start a live query on hosts and labels by name."""
    now = deps.clock()
    await campaigns.read_beforehand(viewer, body.query, deps.sql_reader)
    async with starting(deps) as session:
        asked = await campaigns.either(session, viewer, body.query_id, body.query, now)
        selection = await campaigns.named(session, body.selected.hosts, body.selected.labels, asked.teams)
        return await _run(deps, session, viewer, asked, body, selection)


async def _run(
    deps: Deps,
    session: AsyncSession,
    viewer: Viewer,
    asked: Asked,
    body: RunBody | RunByNamesBody,
    selection: Selection,
) -> dict[str, Any]:
    deadline = None if body.deadline is None else time_of(body.deadline, "deadline")
    kind: CampaignKind = "viewer" if deadline is None else "durable"
    cleared = await campaigns.cleared(session, viewer, asked, deps.sql_reader)
    request = await campaigns.request(
        session, viewer, cleared, selection, kind=kind, deadline=deadline, budget=body.limits()
    )
    unknown = await targets.unknown(session, selection, asked.teams)
    started = await start(deps, session, viewer, cleared, request)
    return {"campaign": campaign_object(started, request), **warned([*cleared.warnings, *unknown])}


def warned(warnings: Iterable[str]) -> dict[str, list[str]]:
    """Return the member that tells what a query may not be meant to do, if there is something to tell."""
    found = list(dict.fromkeys(warnings))
    return {"warnings": found} if found else {}


@router.get("/campaigns/{campaign_id:int}")
async def get_campaign(deps: DepsDep, viewer: ViewerDep, campaign_id: Id) -> dict[str, Any]:
    """Show a live query and its ledger: every targeted host is in exactly one state."""
    async with deps.sessions.begin() as session:
        campaign = await campaigns.watchable(session, viewer, campaign_id, deps.sql_reader)
        counts = await campaign_ledgers.counts(session, campaign_id)
        account = await campaign_store.account(session, campaign_id)
        are_off = await campaign_store.are_off(session)
        ramp = await campaign_store.ramp(session, campaign_id)
    hosts = {**counts, "targeted": campaign.target_count}
    summary = {**campaign_summary(campaign, are_off=are_off), "hosts": hosts, **account_object(account)}
    return {"campaign": {**summary, "ramp": None if ramp is None else ramp_data(ramp)}}


@router.get("/campaigns")
async def list_campaigns(
    deps: DepsDep,
    viewer: ViewerDep,
    options: ListOptionsDep,
    status: Annotated[str, Query(description="open or complete")] = "",
) -> dict[str, Any]:
    """List live queries, the newest first: one's own, or everybody's for who may run new SQL on every host."""
    if status not in {"", "open", "complete"}:
        raise InvalidArgument("status", "status must be open or complete")
    options = paged(options, PAGE, LONGEST_PAGE)
    async with deps.sessions.begin() as session:
        found, more = await campaigns.visible_page(session, viewer, options, status)
        are_off = await campaign_store.are_off(session)
    listed = [
        {**campaign_summary(campaign, are_off=are_off), "hosts": {"targeted": campaign.target_count}}
        for campaign in found
    ]
    return {"campaigns": listed, "meta": meta_of(options, more=more).model_dump()}


def campaign_summary(campaign: Campaign, *, are_off: bool) -> dict[str, Any]:
    """Return what is known of a campaign beside its ledger. `are_off`: an administrator has turned live queries off."""
    is_open = campaign.status == "open"
    return {
        "created_at": campaign.created_at,
        "updated_at": campaign.ended_at or campaign.last_viewed_at or campaign.created_at,
        "id": campaign.id,
        "query_id": campaign.query_id,
        "query": campaign.sql,
        "status": RUNNING if is_open else COMPLETE,
        "user_id": campaign.user_id,
        "kind": campaign.kind,
        "halted": are_off and is_open,
        "paused_at": campaign.paused_at if is_open else None,
        "pause_reason": campaign.pause_reason if is_open else None,
        "deadline": campaign.deadline,
        "ended_at": campaign.ended_at,
        "end_reason": campaign.end_reason,
    }


def account_object(account: Account) -> dict[str, Any]:
    """Return the members that tell what a campaign may cost and has cost."""
    return {"budget": account.budget.model_dump(), "spent": dict(account.spent)}


@router.delete("/campaigns/{campaign_id:int}")
async def stop_campaign(deps: DepsDep, viewer: ViewerDep, campaign_id: Id) -> dict[str, Any]:
    """Stop a live query: hosts that have not answered are asked no more. What they answered stays to be seen."""
    async with deps.sessions.begin() as session:
        await campaigns.stoppable(session, viewer, campaign_id)
    await deps.bus.request(StopCampaignV1(campaign_id=campaign_id))
    return {}


class PauseBody(ApiBody):
    """Why; people see it."""

    reason: Annotated[str, Field(max_length=200)] = ""


@router.post("/campaigns/{campaign_id:int}/pause")
async def pause_campaign(
    deps: DepsDep, viewer: ViewerDep, campaign_id: Id, body: PauseBody | None = None
) -> dict[str, Any]:
    """Ask no host any more until it is resumed. Answers that are on their way count, and the deadline stays."""
    async with deps.sessions.begin() as session:
        campaign = await campaigns.stoppable(session, viewer, campaign_id)
    _check_open(campaign)
    reason = (body.reason.strip() if body is not None else "") or f"paused by {viewer.email}"
    await _tell(deps, PauseCampaignV1(campaign_id=campaign_id, paused=True, reason=reason))
    return {}


@router.post("/campaigns/{campaign_id:int}/resume")
async def resume_campaign(
    deps: DepsDep, viewer: ViewerDep, campaign_id: Id, body: BudgetedBody | None = None
) -> dict[str, Any]:
    """Go on with a paused live query: for who might start it now on all the hosts that have not answered.

    One that is above its budget goes on with a higher limit alone. The same call changes the limits of one that runs.
    """
    given = body.limits() if body is not None else campaigns.NO_BUDGET
    async with deps.sessions.begin() as session:
        campaign, budget = await campaigns.resumable(session, viewer, campaign_id, given, deps.sql_reader)
    _check_open(campaign)
    await _tell(deps, PauseCampaignV1(campaign_id=campaign_id, paused=False, reason="", budget=budget))
    return {}


def _check_open(campaign: Campaign) -> None:
    if campaign.status != "open":
        raise BadRequest(ENDED)


async def _tell(deps: Deps, request: PauseCampaignV1) -> None:
    try:
        await deps.bus.request(request)
    except Conflict as error:
        raise BadRequest(ENDED) from error


@router.get("/status/live_query")
async def live_query_status(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Answer `{}` when live queries are on."""
    del viewer
    async with deps.sessions.begin() as session:
        await campaigns.check_enabled(session)
    return {}


@router.get("/status/result_store")
async def result_store_status(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Answer `{}` when results can be kept."""
    del viewer
    await campaign_rows.check(deps.redis)
    return {}

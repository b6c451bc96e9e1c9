"""Live queries: may they, at which hosts, and what is remembered of it (admin API part 15)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import structlog
from flotilla_common.contracts.campaigns import Budget, CampaignKind, StartCampaignV1
from flotilla_common.db.models.admin_api import Query
from flotilla_common.db.models.live_query import Campaign
from flotilla_common.errors import Unavailable
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import activities, app_config, budgets, queries, sql_policy, targets
from admin_api.domain.authorize import Action, Subject, authorize_any, is_allowed, visible_team_ids
from admin_api.domain.sql_facts import SqlFacts
from admin_api.domain.sql_policy import Cleared
from admin_api.domain.sql_reader import SqlReader
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest, Forbidden, InvalidArgument, LiveQueriesOff, Missing, SqlDenied
from admin_api.metrics import QUERIES_REFUSED
from admin_api.store import app_config as stored_config
from admin_api.store import campaigns, hosts, labels
from admin_api.store.host_scope import VisibleTeams
from admin_api.store.listing import ListOptions
from admin_api.store.targets import Selection

log = structlog.get_logger()

NO_BUDGET = Budget()
NO_HOSTS = "no hosts targeted"
LONGEST_SQL = 1024 * 1024  # characters; commands and requests must fit into messages of the bus
MOST_HOSTS = 100_000  # that one request may list one by one


@dataclass(frozen=True)
class Asked:
    """What is to be asked: a query (ad hoc SQL has become one) and the teams whose hosts may be asked."""

    query: Query
    teams: VisibleTeams


async def check_enabled(session: AsyncSession) -> None:
    """Stop when an administrator has turned live queries off.

    Raises:
        LiveQueriesOff: they are off.

    """
    if (await stored_config.once(session)).live_query_disabled:
        raise LiveQueriesOff


async def saved(session: AsyncSession, viewer: Viewer, query_id: int) -> Asked:
    """Return a saved query to ask.

    Raises:
        Forbidden: the viewer may not run it on any host.
        Missing: there is no such query.
        LiveQueriesOff: live queries are off.

    """
    await check_enabled(session)
    authorize_any(viewer, Action.RUN_SAVED_QUERY)
    query = await queries.readable(session, viewer, query_id)
    if not query.saved:
        return Asked(query, _some(visible_team_ids(viewer, Action.RUN_NEW_QUERY)))
    teams = visible_team_ids(viewer, Action.RUN_SAVED_QUERY, observer_can_run=query.observer_can_run)
    return Asked(query, _some(teams))


async def ad_hoc(session: AsyncSession, viewer: Viewer, sql: str, now: datetime) -> Asked:
    """Keep new SQL as an unsaved query and return it to be asked.

    Raises:
        Forbidden: the viewer may not run new SQL on any host.
        LiveQueriesOff: live queries are off.

    """
    await check_enabled(session)
    authorize_any(viewer, Action.RUN_NEW_QUERY)
    query = Query(
        name=f"distributed_{viewer.email}_{int(now.timestamp() * 1e6)}000",
        query=sql,
        saved=False,
        author_id=viewer.user_id,
        author_name=viewer.name,
        author_email=viewer.email,
    )
    session.add(query)
    await session.flush()
    return Asked(query, _some(visible_team_ids(viewer, Action.RUN_NEW_QUERY)))


def _some(teams: VisibleTeams) -> VisibleTeams:
    if teams is not None and not teams:
        raise Forbidden
    return teams


async def either(session: AsyncSession, viewer: Viewer, query_id: int | None, sql: str, now: datetime) -> Asked:
    """Return what a body asks: a query by id, else SQL.

    Raises:
        InvalidArgument: neither is given.
        Forbidden, Missing, LiveQueriesOff: as `saved` and `ad_hoc`.

    """
    if not query_id and not sql.strip():
        authorize_any(viewer, Action.RUN_SAVED_QUERY)
        raise InvalidArgument("query", "one of query or query_id must be specified")
    return await saved(session, viewer, query_id) if query_id else await ad_hoc(session, viewer, sql, now)


async def read_beforehand(viewer: Viewer, sql: str, reader: SqlReader) -> None:
    """Read new SQL before there is a transaction: hard texts are waited for without a connection to Postgres.

    Whatever comes of it, `held` decides: it finds the text remembered.
    """
    teams = visible_team_ids(viewer, Action.RUN_NEW_QUERY)
    if sql.strip() and (teams is None or teams):
        with contextlib.suppress(Unavailable):
            await reader.read(sql)


async def held(session: AsyncSession, viewer: Viewer, asked: Asked, reader: SqlReader) -> Cleared:
    """Hold a query against the live query policy, whatever comes of it.

    Raises:
        Unavailable: the query cannot be read now, and somebody's role has something denied.

    """
    policy = app_config.live_query_policy(await stored_config.once(session))
    try:
        facts = await reader.read(asked.query.query, holding=True)
    except Unavailable as error:
        facts = SqlFacts(unreadable=str(error), warnings=(f"it was not checked: {error}",))
        cleared = sql_policy.hold(asked.query, viewer, asked.teams, policy, facts)
        if cleared.refusals:
            raise
        return cleared
    return sql_policy.hold(asked.query, viewer, asked.teams, policy, facts)


async def cleared(session: AsyncSession, viewer: Viewer, asked: Asked, reader: SqlReader) -> Cleared:
    """Let a query pass the live query policy: what `request` wants, and the only way to it.

    Raises:
        SqlDenied: on no host may the viewer's role ask this.
        Unavailable: as `held`.

    """
    found = await held(session, viewer, asked, reader)
    if found.teams is not None and not found.teams:
        raise denied(viewer, found)
    return found


def denied(viewer: Viewer, found: Cleared) -> SqlDenied:
    """Return the refusal of a query; log and count it: who tries what is worth knowing."""
    refusal = found.refusals[0]
    QUERIES_REFUSED.labels(refusal.role).inc()
    log.warning("live query refused", user_id=viewer.user_id, team_id=refusal.team_id, reason=refusal.reason)
    return SqlDenied(refusal.reason)


async def named(session: AsyncSession, host_names: list[str], label_names: list[str], teams: VisibleTeams) -> Selection:
    """Turn identifiers of hosts and names of labels into ids. Unknown hosts and empty texts are passed over.

    Raises:
        BadRequest: a label is unknown.

    """
    wanted = {name for name in label_names if name}
    found = await labels.by_names(session, wanted) if wanted else []
    known = {label.name.lower() for label in found}
    unknown = sorted(name for name in wanted if name.lower() not in known)
    if unknown:
        raise BadRequest(f"Invalid label name(s): {', '.join(unknown)}.")
    host_ids = await hosts.ids_by_identifiers(session, host_names, teams)
    return Selection(frozenset(host_ids), frozenset(label.id for label in found if label.id is not None))


async def request(
    session: AsyncSession,
    viewer: Viewer,
    asked: Cleared,
    selection: Selection,
    *,
    kind: CampaignKind = "viewer",
    deadline: datetime | None = None,
    wait_seconds: float | None = None,
    budget: Budget = NO_BUDGET,
) -> StartCampaignV1:
    """Return the request that starts the campaign. `budget` is what the viewer asks for.

    Raises:
        Forbidden: a selected team is out of the viewer's reach.
        SqlDenied: a selected team, or every selected host, is where the viewer's role may not ask this.
        BadRequest: no host within reach is selected, or the request is too large.
        InvalidArgument: the viewer's role may not have such a budget.

    """
    limits = app_config.live_query_budgets(await stored_config.once(session))
    await _check_reach(session, viewer, asked, selection)
    on = None if viewer.global_role else await targets.teams_of(session, selection, asked.teams)
    return StartCampaignV1(
        sql=asked.query.query,
        query_id=asked.query.id,
        user_id=viewer.user_id,
        kind=kind,
        host_ids=tuple(sorted(selection.hosts)),
        label_ids=tuple(sorted(selection.labels)),
        team_ids=tuple(sorted(selection.teams)),
        allowed_team_ids=None if asked.teams is None else tuple(sorted(asked.teams)),
        deadline=deadline,
        wait_seconds=wait_seconds,
        request_id=uuid4(),
        budget=budgets.granted(budget, viewer, on, limits),
    )


async def _check_reach(session: AsyncSession, viewer: Viewer, asked: Cleared, selection: Selection) -> None:
    """Refuse a selection that is out of reach, where the policy forbids the query, without hosts, or too large."""
    refused = frozenset(refusal.team_id for refusal in asked.refusals if refusal.team_id is not None)
    if selection.teams & refused:
        raise denied(viewer, asked)
    targets.check_teams(selection, asked.teams)
    _check_size(asked.query.query, selection)
    if not await targets.are_any(session, selection, asked.teams):
        if refused and await targets.are_any(session, selection, refused):
            raise denied(viewer, asked)
        raise BadRequest(NO_HOSTS)


def _check_size(sql: str, selection: Selection) -> None:
    if len(selection.hosts) > MOST_HOSTS:
        raise BadRequest(f"at most {MOST_HOSTS} hosts can be listed; select labels or teams for more")
    if len(sql) > LONGEST_SQL:
        raise BadRequest(f"the query is longer than {LONGEST_SQL} characters")


async def record(session: AsyncSession, viewer: Viewer, query: Query, targets_count: int | None) -> None:
    """Write the activity of a started campaign, without a count if nobody knows it.

    Ad hoc SQL has no name that people know.
    """
    details: dict[str, Any] = {"targets_count": targets_count, "query_sql": query.query}
    if query.saved:
        details["query_name"] = query.name
    await activities.record(session, viewer, "live_query", details)


async def may_watch(session: AsyncSession, viewer: Viewer, campaign: Campaign, reader: SqlReader) -> bool:
    """Whether the viewer may watch a campaign, as `check_watcher`.

    Raises:
        Unavailable: as `held`.

    """
    try:
        await check_watcher(session, viewer, campaign, reader)
    except (Forbidden, SqlDenied):
        return False
    return True


async def check_watcher(session: AsyncSession, viewer: Viewer, campaign: Campaign, reader: SqlReader) -> None:
    """Let pass who started the campaign, or may run its query on all its targets, by the policy too.

    Raises:
        Forbidden: the viewer may not run it on all of them.
        SqlDenied: the policy alone keeps the viewer's role from that.
        Unavailable: as `held`.

    """
    if campaign.user_id == viewer.user_id:
        return
    teams = await _runnable_teams(session, viewer, campaign)
    if not await _reaches_all(session, campaign, teams):
        raise Forbidden
    asked = Asked(Query(name="", query=campaign.sql, saved=False), teams)
    found = await held(session, viewer, asked, reader)
    if not await _reaches_all(session, campaign, found.teams):
        raise SqlDenied(found.refusals[0].reason) if found.refusals else Forbidden()


async def _reaches_all(session: AsyncSession, campaign: Campaign, teams: VisibleTeams) -> bool:
    if teams is not None and not teams:
        return False
    return await campaigns.targets_only(session, campaign.id or 0, teams)


async def watchable(session: AsyncSession, viewer: Viewer, campaign_id: int, reader: SqlReader) -> Campaign:
    """Return a campaign that the viewer may watch.

    Raises:
        Forbidden: the viewer may run nothing, or may not watch this one.
        SqlDenied: as `check_watcher`.
        Missing: there is no such campaign.

    """
    campaign = await _existing(session, viewer, campaign_id)
    await check_watcher(session, viewer, campaign, reader)
    return campaign


async def visible_page(
    session: AsyncSession, viewer: Viewer, options: ListOptions, status: str
) -> tuple[Sequence[Campaign], bool]:
    """Return a page of the viewer's own campaigns, of everybody's for who may run new SQL on every host.

    Raises:
        Forbidden: the viewer may run nothing.
        InvalidArgument: an option makes no sense.

    """
    authorize_any(viewer, Action.RUN_SAVED_QUERY)
    sees_all = visible_team_ids(viewer, Action.RUN_NEW_QUERY) is None
    return await campaigns.page(session, options, None if sees_all else viewer.user_id, status)


async def stoppable(session: AsyncSession, viewer: Viewer, campaign_id: int) -> Campaign:
    """Return a campaign that the viewer may stop: an own one, or one whose targets the viewer administers.

    Raises:
        Forbidden: the viewer may run nothing, or may not stop this one.
        Missing: there is no such campaign.

    """
    campaign = await _existing(session, viewer, campaign_id)
    teams = visible_team_ids(viewer, Action.STOP_CAMPAIGN)
    if campaign.user_id != viewer.user_id and not await _reaches_all(session, campaign, teams):
        raise Forbidden
    return campaign


async def resumable(
    session: AsyncSession, viewer: Viewer, campaign_id: int, given: Budget, reader: SqlReader
) -> tuple[Campaign, Budget | None]:
    """Return a campaign that the viewer may stop, and may ask of all the hosts that are still to be asked.

    With it comes the budget that takes the place of its own, None: it keeps that; `given` is what the viewer asks for.

    A host out of the teams that the campaign was started for is not asked, and no reason; nor is one that is deleted.

    Raises:
        Forbidden: as `stoppable`, or the viewer may not run its query on all those hosts by now.
        SqlDenied: the policy keeps the viewer's role from it there.
        LiveQueriesOff: live queries are off.
        InvalidArgument: the viewer's role may not have such a budget.
        Missing, Unavailable: as `stoppable` and `held`.

    """
    campaign = await stoppable(session, viewer, campaign_id)
    await check_enabled(session)
    teams = await _runnable_teams(session, viewer, campaign)
    if not await campaigns.awaits_only(session, campaign, teams):
        raise Forbidden
    found = await held(session, viewer, Asked(Query(name="", query=campaign.sql, saved=False), teams), reader)
    if not await campaigns.awaits_only(session, campaign, found.teams):
        raise denied(viewer, found)
    limits = app_config.live_query_budgets(await stored_config.once(session))
    before = (await campaigns.account(session, campaign_id)).budget
    on = None if viewer.global_role else await campaigns.awaited_teams(session, campaign)
    budget = budgets.renewed(given, before, viewer, on or found.teams, limits)
    return campaign, None if budget == before else budget


async def _runnable_teams(session: AsyncSession, viewer: Viewer, campaign: Campaign) -> VisibleTeams:
    """Return the teams on whose hosts the viewer may run a campaign's query, whatever the policy says of it."""
    query = await session.get(Query, campaign.query_id) if campaign.query_id is not None else None
    if query is None or not query.saved:
        return visible_team_ids(viewer, Action.RUN_NEW_QUERY)
    if is_allowed(viewer, Action.READ_QUERIES, Subject(query.team_id)):
        return visible_team_ids(viewer, Action.RUN_SAVED_QUERY, observer_can_run=query.observer_can_run)
    return frozenset()


async def _existing(session: AsyncSession, viewer: Viewer, campaign_id: int) -> Campaign:
    authorize_any(viewer, Action.RUN_SAVED_QUERY)
    campaign = await campaigns.by_id(session, campaign_id)
    if campaign is None:
        raise Missing("Campaign", campaign_id)
    return campaign

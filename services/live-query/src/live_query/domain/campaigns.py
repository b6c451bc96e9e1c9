"""Start and stop campaigns: what may be asked, for how long, and which command gateways get."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.contracts.campaigns import (
    INLINE_BYTES,
    Budget,
    CampaignCommand,
    CampaignStartedV1,
    PauseCampaignV1,
    StartCampaignV1,
    TargetCounts,
)
from flotilla_common.db.models.live_query import Campaign
from opentelemetry import trace
from sqlalchemy.ext.asyncio import AsyncSession

from live_query.domain.budgets import overrun_of
from live_query.domain.signing import sign
from live_query.domain.targeting import resolve
from live_query.errors import BadCampaign, EndedCampaign, LiveQueriesOff, UnknownCampaign
from live_query.store import budgets, campaigns, ledger, ramps, switch
from live_query.store.budgets import Account

VIEWER_GRACE = timedelta(seconds=60)
"""A viewer campaign ends this long after it was last watched, or after its start when nobody came."""
VIEWER_LONGEST = timedelta(hours=24)
DURABLE_LONGEST = timedelta(days=30)
SYNCHRONOUS_LONGEST = timedelta(minutes=10)
SQL_LIMIT_BYTES = 256 * 1024
REASON_LIMIT = 200  # characters
STOPPED = "stopped"
PAUSED = "paused"
tracer = trace.get_tracer(__name__)
_TRACE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Trace:
    """Where in a trace something happens, in hexadecimal."""

    trace_id: str
    span_id: str


@dataclass(frozen=True)
class Lifetime:
    """When a campaign ends by itself, and when at the very latest: the deadline that gateways are told."""

    deadline: datetime
    longest: datetime


@dataclass(frozen=True)
class Draft:
    """A campaign that is to be: who is asked what, signed. `host_ids` ascending, those of the command's targets."""

    request: StartCampaignV1
    command: CampaignCommand
    signed: bytes
    host_ids: list[int]
    counts: TargetCounts
    created_at: datetime


async def draft_campaign(
    session: AsyncSession, request: StartCampaignV1, *, current: Trace, key: Ed25519PrivateKey, now: datetime
) -> Draft:
    """Resolve the targets and sign the command. The request's own trace, if it names one, comes before the current one.

    Raises:
        BadCampaign: the request makes no sense, or asks for more time than there is.
        LiveQueriesOff: an administrator has turned them off.
        NothingTargeted: no host matches.

    """
    await check_enabled(session)
    check_sql(request.sql)
    lifetime = lifetime_of(request, now)
    trace_id = _trace(request.trace_id or current.trace_id)
    targets = await resolve(session, request, now=now)
    campaign_id = await campaigns.next_id(session)
    is_large = len(targets.bitmap) > INLINE_BYTES
    command = CampaignCommand(
        campaign_id=campaign_id,
        sql=request.sql,
        started_at=now.timestamp(),
        deadline=lifetime.longest.timestamp(),
        trace=trace_id,
        targets=b"" if is_large else targets.bitmap,
        allowed_teams=None if request.allowed_team_ids is None else sorted(set(request.allowed_team_ids)),
        targets_hash=hashlib.sha256(targets.bitmap).hexdigest() if is_large else "",
        span=current.span_id if trace_id == current.trace_id else "",
        ramped=request.budget.hosts_at_a_time is not None,
    )
    return Draft(request, command, sign(command, key), targets.host_ids, targets.counts, now)


async def enter(session: AsyncSession, draft: Draft) -> CampaignStartedV1:
    """Write the campaign with one pending ledger row per host. Gateways are told after the commit, or were before."""
    campaign_id, budget = draft.command.campaign_id, draft.request.budget
    await campaigns.add(session, _row(draft))
    with tracer.start_as_current_span("open ledger"):
        await budgets.add(session, campaign_id, budget)
        await ledger.add_pending(session, campaign_id, draft.host_ids)
    if budget.hosts_at_a_time is not None:
        await campaigns.notify(session, [campaign_id])  # the keeper releases the first hosts
    return CampaignStartedV1(campaign_id=campaign_id, created_at=draft.created_at, counts=draft.counts)


def _row(draft: Draft) -> Campaign:
    request, command = draft.request, draft.command
    return Campaign(
        id=command.campaign_id,
        sql=command.sql,
        query_id=request.query_id,
        user_id=request.user_id,
        kind=request.kind,
        trace_id=command.trace,
        allowed_team_ids=command.allowed_teams,
        target_count=draft.counts.total,
        command=draft.signed,
        targets_hash=command.targets_hash,
        request_id=request.request_id,
        counts=draft.counts.model_dump(),
        created_at=draft.created_at,
        deadline=lifetime_of(request, draft.created_at).deadline,
    )


async def stop_campaign(session: AsyncSession, campaign_id: int, reason: str, *, now: datetime) -> bool:
    """Decide that a running campaign ends now; False when it does not run any more.

    Its ledger closes once all answers that came before have been settled.

    Raises:
        UnknownCampaign: there is none with this id.

    """
    stopped = await campaigns.decide_end(session, campaign_id, plain_text(reason, REASON_LIMIT) or STOPPED, now)
    if not stopped and not await campaigns.exists_at_all(session, campaign_id):
        raise UnknownCampaign(campaign_id)
    await campaigns.notify(session, [campaign_id])
    return stopped


async def pause_campaign(session: AsyncSession, request: PauseCampaignV1, *, now: datetime) -> bool:
    """Decide that a running campaign asks nobody, or asks again or within other limits; False when that is no change.

    Raises:
        BadCampaign: it is to ask, and is above its budget, or would be.
        EndedCampaign: it does not run any more.
        LiveQueriesOff: it is to ask again, and an administrator has turned live queries off.
        UnknownCampaign: there is none with this id.

    """
    campaign_id = request.campaign_id
    if request.paused:
        reason = plain_text(request.reason, REASON_LIMIT) or PAUSED
        changed = await campaigns.pause(session, campaign_id, reason, now)
    else:
        changed = await _resume(session, campaign_id, request.budget, now)
    if not changed and not await campaigns.exists_at_all(session, campaign_id):
        raise UnknownCampaign(campaign_id)
    if not changed and not await campaigns.is_running(session, campaign_id, now):
        raise EndedCampaign
    return changed


async def _resume(session: AsyncSession, campaign_id: int, budget: Budget | None, now: datetime) -> bool:
    """Let a paused campaign go on within other limits, or its own; one that runs goes on within other limits.

    The account is locked before the campaign is looked at, as answers do: none can go above the limits in between.
    """
    await check_enabled(session)
    account = await budgets.lock(session, campaign_id)
    paused_at = await campaigns.resume(session, campaign_id, now)
    if paused_at is not None:
        await ramps.wait_again(session, paused_at, now, campaign_id)
    elif not (budget and await _may_change(session, account, budget, campaign_id, now)):
        return False
    if budget is not None:
        await budgets.limit(session, campaign_id, budget)
        account = await budgets.lock(session, campaign_id)
    overrun = None if account is None else overrun_of(account)
    if overrun is not None:
        raise BadCampaign(f"{overrun.reason}: it goes on with a higher limit alone")
    return True


async def _may_change(
    session: AsyncSession, account: Account | None, budget: Budget, campaign_id: int, now: datetime
) -> bool:
    """Whether other limits make a difference to a campaign that is not paused."""
    same = account is not None and account.budget == budget
    return not same and await campaigns.is_running(session, campaign_id, now)


async def check_enabled(session: AsyncSession) -> None:
    """Refuse to ask anybody while an administrator has turned live queries off.

    Raises:
        LiveQueriesOff: they are off.

    """
    if await switch.is_off(session):
        raise LiveQueriesOff


def check_sql(sql: str) -> None:
    """Refuse what no host can be asked.

    Raises:
        BadCampaign: the SQL is blank, too long, or holds a NUL.

    """
    if not sql.strip():
        raise BadCampaign("the query is empty")
    if len(sql.encode()) > SQL_LIMIT_BYTES:
        raise BadCampaign(f"the query is longer than {SQL_LIMIT_BYTES} bytes")
    if "\x00" in sql:
        raise BadCampaign("the query holds a NUL character")


def lifetime_of(request: StartCampaignV1, now: datetime) -> Lifetime:
    """Return how long a campaign of this kind lives.

    Raises:
        BadCampaign: a deadline or wait is missing, does not belong to this kind, or is out of bounds.

    """
    if (request.deadline is not None) != (request.kind == "durable"):
        raise BadCampaign("a deadline is what makes a campaign durable: one needs the other")
    if (request.wait_seconds is not None) != (request.kind == "synchronous"):
        raise BadCampaign("a wait is what makes a campaign synchronous: one needs the other")
    if request.deadline is not None:
        deadline = _check_deadline(request.deadline, now)
    elif request.wait_seconds is not None:
        deadline = now + _wait(request.wait_seconds)
    else:
        return Lifetime(now + VIEWER_GRACE, now + VIEWER_LONGEST)
    return Lifetime(deadline, deadline)


def _check_deadline(deadline: datetime, now: datetime) -> datetime:
    if deadline.tzinfo is None:
        raise BadCampaign("the deadline has no time zone")
    if deadline <= now:
        raise BadCampaign("the deadline has passed")
    if deadline > now + DURABLE_LONGEST:
        raise BadCampaign(f"the deadline is more than {DURABLE_LONGEST.days} days away")
    return deadline


def _wait(seconds: float) -> timedelta:
    if not math.isfinite(seconds) or not 0 < seconds <= SYNCHRONOUS_LONGEST.total_seconds():
        raise BadCampaign(f"the wait must be between 0 and {SYNCHRONOUS_LONGEST.total_seconds():g} seconds")
    return timedelta(seconds=seconds)


def _trace(trace_id: str) -> str:
    if _TRACE.fullmatch(trace_id) is None:
        raise BadCampaign("a trace id has 32 hexadecimal digits")
    return trace_id


def plain_text(text: str, limit: int) -> str:
    """Return a stranger's text as Postgres can keep it: without NUL, at most so many characters."""
    return text.replace("\x00", "")[:limit]

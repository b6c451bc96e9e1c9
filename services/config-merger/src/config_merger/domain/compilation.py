"""Compilation: from stored layers to stored plans, under the lock of each class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import structlog
from flotilla_common.contracts.plans import PlanHead
from sqlalchemy.ext.asyncio import AsyncSession

from config_merger import metrics
from config_merger.domain.intervals import intervals_of
from config_merger.domain.layers import AgentOptions, Desktop, HostClass, Layers, ScheduledQuery, TeamOptions
from config_merger.domain.orbit import OrbitBytes, compile_orbit
from config_merger.domain.plans import CompiledPlan, compile_plan, etag_of
from config_merger.errors import PlanRefused, TooManyClasses, UnknownTeam
from config_merger.store import layers as layer_store
from config_merger.store import plans

log = structlog.get_logger()

CLASSES_LIMIT = 20_000


async def plan_of(session: AsyncSession, host_class: HostClass, *, now: datetime) -> str:
    """Compile the plan of a class unless it has one; return the class' key.

    Raises:
        UnknownTeam: its team does not exist.
        TooManyClasses: there are CLASSES_LIMIT already.
        PlanRefused: what its layers make cannot be sent to a host.

    """
    found = await plans.find(session, host_class.key)
    if found is not None and found.revision > 0:
        return host_class.key
    await plans.hold(session)
    if await plans.count(session) >= CLASSES_LIMIT:
        raise TooManyClasses(f"{CLASSES_LIMIT} classes of hosts")
    row = await plans.make_and_lock(
        session, host_class.key, host_class.team_id, host_class.platform, host_class.scope_labels
    )
    layers = await _read(session, [host_class])
    if host_class not in layers:
        raise UnknownTeam(f"team {host_class.team_id}")
    await _save(session, row, *_compile(layers[host_class], host_class), now)
    return host_class.key


async def recompile(session: AsyncSession, rows: Sequence[Any], *, now: datetime) -> int:
    """Compile locked classes again; return how many plans changed. The same bytes change nothing.

    A plan that cannot be sent to a host is not stored: the one before stays in force.
    """
    classes = {row.class_key: HostClass(row.team_id, row.platform, tuple(row.scope_labels)) for row in rows}
    layers = await _read(session, list(classes.values()))
    changed = 0
    for row in rows:
        host_class = classes[row.class_key]
        if host_class not in layers:
            continue  # its team is gone: the team's own event, or housekeeping, removes the class
        try:
            plan, orbit = _compile(layers[host_class], host_class)
        except PlanRefused as error:
            _note_refusal(row, error)
            continue
        changed += await _save(session, row, plan, orbit, now)
    return changed


def _compile(layers: Layers, host_class: HostClass) -> tuple[CompiledPlan, OrbitBytes]:
    return compile_plan(layers, host_class), compile_orbit(layers, host_class)


def _note_refusal(row: Any, error: PlanRefused) -> None:
    metrics.PLANS_COMPILED.labels("refused").inc()
    log.error("plan refused, the one before stays", class_key=row.class_key, team=row.team_id, reason=str(error))


async def _save(session: AsyncSession, row: Any, plan: CompiledPlan, orbit: OrbitBytes, now: datetime) -> bool:
    """Store a plan whose bytes are new, under a revision that no plan of this class ever had."""
    if row.revision > 0 and (row.config_sha256, row.orbit_sha256) == (plan.sha256, orbit.sha256):
        await plans.explain(session, row.class_key, plan.provenance)
        metrics.PLANS_COMPILED.labels("same").inc()
        return False
    await plans.save(
        session,
        row.class_key,
        revision=next_revision(row.revision, now),
        config=plan.config,
        config_sha256=plan.sha256,
        orbit=orbit.body,
        orbit_sha256=orbit.sha256,
        provenance=plan.provenance,
        compiled_at=now,
    )
    metrics.PLANS_COMPILED.labels("new").inc()
    return True


def next_revision(previous: int, now: datetime) -> int:
    """Return a revision above the previous one, and above those of a class that was removed or a lost database's."""
    return max(previous + 1, int(now.timestamp() * 1000))


def head_of(row: Any) -> PlanHead:
    """Return what the bucket says of a stored plan."""
    return PlanHead(
        class_key=row.class_key,
        team_id=row.team_id,
        platform=row.platform,
        scope_labels=tuple(row.scope_labels),
        revision=row.revision,
        config_sha256=row.config_sha256,
        orbit_sha256=row.orbit_sha256,
        etag=etag_of(row.config_sha256),
        compiled_at=row.compiled_at,
        **intervals_of(row.config),
    )


async def _read(session: AsyncSession, classes: Collection[HostClass]) -> dict[HostClass, Layers]:
    """Return the layers of each class; a class of a team that does not exist is left out."""
    team_ids = {host_class.team_id for host_class in classes if host_class.team_id is not None}
    app_config = await layer_store.app_config(session)
    teams = await layer_store.teams(session, team_ids)
    queries = [_query(row) for row in await layer_store.scheduled_queries(session, team_ids)]
    installation = AgentOptions("global")
    if app_config is not None:
        installation = AgentOptions("global", app_config.agent_options, present=True)
    reports_enabled = app_config is None or app_config.reports_enabled
    desktop = Desktop() if app_config is None else _desktop(app_config.document)
    label_ids = await layer_store.label_ids(session, {one for host_class in classes for one in host_class.scope_labels})
    of_no_team = Layers(installation, None, queries, reports_enabled, desktop, label_ids)
    by_team: dict[int | None, Layers] = {None: of_no_team}
    for team_id, team in teams.items():
        options = AgentOptions(f"team-{team_id}", team.agent_options, present=team.has_options)
        by_team[team_id] = replace(of_no_team, team=TeamOptions(options, team.merge_mode))
    return {host_class: by_team[host_class.team_id] for host_class in classes if host_class.team_id in by_team}


def _desktop(document: Mapping[str, Any]) -> Desktop:
    """Return what the app config says; what is missing there, empty, or no text, keeps its default."""
    told = {**_object(document.get("org_info")), **_object(document.get("fleet_desktop"))}
    texts = {member.name: told.get(member.name) for member in fields(Desktop)}
    return Desktop(**{name: text for name, text in texts.items() if text and isinstance(text, str)})


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _query(row: Any) -> ScheduledQuery:
    query = row.Query
    return ScheduledQuery(
        query_id=query.id,
        team_id=query.team_id,
        name=query.name,
        query=query.query,
        interval_seconds=query.interval_seconds,
        platform=query.platform,
        min_osquery_version=query.min_osquery_version,
        logging=query.logging,
        automations_enabled=query.automations_enabled,
        discard_data=query.discard_data,
        labels=frozenset(row.labels or ()),
    )

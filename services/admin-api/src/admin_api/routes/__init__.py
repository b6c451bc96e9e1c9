"""In by HTTP: parse, call domain, answer. `ROUTERS` is the list of everything served under the versioned prefixes."""

from __future__ import annotations

from fastapi import APIRouter

from admin_api.routes import (
    activities,
    campaign_stream,
    campaigns,
    carves,
    config,
    enroll_secrets,
    hosts,
    hosts_changes,
    labels,
    labels_spec,
    live_runs,
    login,
    queries,
    queries_spec,
    query_checks,
    sessions,
    targets,
    teams,
    teams_spec,
    teams_users,
    trigger,
    users,
    version,
)

ROUTERS: tuple[APIRouter, ...] = (
    version.router,
    login.public,
    login.router,
    login.resetting,
    sessions.router,
    users.router,
    activities.router,
    campaign_stream.router,
    campaigns.router,
    carves.router,
    config.router,
    enroll_secrets.router,
    hosts.router,
    hosts_changes.router,
    labels.router,
    labels_spec.router,
    live_runs.router,
    queries.router,
    queries_spec.router,
    query_checks.router,
    targets.router,
    teams.router,
    teams_spec.router,
    teams_users.router,
    trigger.router,
)

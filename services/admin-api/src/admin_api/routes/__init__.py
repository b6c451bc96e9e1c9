"""In by HTTP: parse, call domain, answer. `ROUTERS` is the list of everything served under the versioned prefixes."""

from __future__ import annotations

from fastapi import APIRouter

from admin_api.routes import (
    activities,
    campaign_stream,
    campaigns,
    hosts,
    hosts_changes,
    labels,
    labels_spec,
    live_runs,
    login,
    queries,
    queries_spec,
    sessions,
    targets,
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
    hosts.router,
    hosts_changes.router,
    labels.router,
    labels_spec.router,
    live_runs.router,
    queries.router,
    queries_spec.router,
    targets.router,
)
